"""The entities of an evaluation: which are needed, and indexes of them."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import ShouldStop
from onegen_model.evaluation.linking.documents import LinkingDocument
from onegen_model.events import Passage
from onegen_model.jsonl import JsonLines
from onegen_model.linking.entities import entity_passage
from onegen_model.model import OneGenModel
from onegen_model.retrieval.corpus_building import CorpusOptions, build_corpus
from onegen_model.retrieval.embedding import Embedder
from onegen_model.retrieval.index import PassageIndex

logger = logging.getLogger(__name__)

# Entities that are embedded before they are on disk.
_BLOCK = 1024


def read_candidates(file: Path, documents: Sequence[LinkingDocument]) -> list[Passage]:
    """The records of a file that are candidates in the documents; raises InvalidInputError where
    they name none."""
    wanted = {name for one in documents for mention in one.mentions for name in mention.candidates}
    if not wanted:
        raise InvalidInputError(
            f"The mentions of the documents name no entities, so none of {file} would be embedded; "
            "expected mentions with an entity_id or negatives; add them or, to measure which "
            "mentions are found, name an index with --entities"
        )
    lines, found = JsonLines(file), dict[str, Passage]()
    for number, row in enumerate(lines):
        if str(row.get("id")) not in wanted:
            continue
        try:
            one = entity_passage(row)
        except InvalidInputError as error:
            raise InvalidInputError(f"{lines.where(number)}: {error}") from error
        if found.setdefault(one.id, one) is not one:
            raise InvalidInputError(
                f"{lines.where(number)}: id {one.id!r} is there already; expected each id once; "
                "remove one"
            )
    if not found:
        raise _of_another_list(file, len(wanted), min(wanted))
    return list(found.values())


def require_known(
    documents: Sequence[LinkingDocument], known: Iterable[str], place: Path, *, detects: bool
) -> None:
    """Raise InvalidInputError where no entity of the documents is in the list; documents without
    entities are measured by their mentions alone, if the run `detects` them."""
    names = set(known)
    gold = [
        mention.entity_id
        for one in documents
        for mention in one.mentions
        if mention.entity_id is not None
    ]
    if not gold:
        _require_detection(detects=detects)
        return
    unknown = [one for one in gold if one not in names]
    if len(unknown) == len(gold):
        raise _of_another_list(place, len(set(gold)), unknown[0])
    if unknown:
        logger.warning(
            "%d of %d mentions have an entity that is not in the list (such as %r): they count "
            "as found or not, and are not linked",
            len(unknown),
            len(gold),
            unknown[0],
        )


def _require_detection(*, detects: bool) -> None:
    if not detects:
        raise InvalidInputError(
            "No mention of the documents has an entity_id, and none is to be found; expected one "
            "of the two, because nothing would be measured; add entity ids, or leave out "
            "--no-detection"
        )
    logger.warning("No mention of the documents has an entity_id: only those found are measured")


def _of_another_list(place: Path, count: int, example: str) -> InvalidInputError:
    return InvalidInputError(
        f"{place} has none of the {count} entities of the documents (such as {example!r}); "
        "expected the list that they name; name another one"
    )


def first_fragments(model: OneGenModel, entities: Iterable[Passage]) -> list[Passage]:
    """Long descriptions are cut: an entity has one vector."""
    return [next(iter(model.fragments(one))) for one in entities]


def embedded(
    embedder: Embedder, entities: Sequence[Passage], folder: Path, should_stop: ShouldStop
) -> PassageIndex | None:
    """An index of these entities; what `folder` lacks of it is embedded. None if it was stopped."""
    options = CorpusOptions(shard_size=_BLOCK)
    report = build_corpus(
        embedder, entities, folder, options=options, progress=None, should_stop=should_stop
    )
    return None if report.was_stopped else PassageIndex.load(embedder, folder)
