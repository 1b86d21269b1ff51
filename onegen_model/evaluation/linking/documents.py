"""Texts with marked mentions, one a line (`.jsonl` or `.jsonl.gz`): the format `entity_linking`.

| field | type | meaning |
| --- | --- | --- |
| `id` | text, required | each one once |
| `text` | text, required | |
| `mentions` | list, required | `start` and `end` in characters of the text; `entity_id`; `surface`, which has to be the text there; `negatives`: ids of wrong candidates; `kind`: any word by which scores are split |
| `annotation` | `exhaustive` (default) or `partial` | whether every mention of the text is marked; a mention that is found in a partial text is never wrong |
| `source` | text | where the text comes from; scores are split by it |

Other fields are ignored. All wrong lines are named at once.
"""  # noqa: E501

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.documents.questions import listed
from onegen_model.finetune.data.linking import LinkedTextRecord, LinkedTexts
from onegen_model.jsonl import JsonLines, Problem

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GoldMention:
    """A marked mention, `text[start:end]`.

    `entity_id` is None where its entity is unknown; `negatives` are wrong candidates.
    """

    start: int
    end: int
    entity_id: str | None = None
    negatives: tuple[str, ...] = ()
    kind: str = ""

    @property
    def span(self) -> Span:
        return self.start, self.end

    @property
    def candidates(self) -> tuple[str, ...]:
        """The entity among its negatives, in an order that does not tell which it is."""
        own = () if self.entity_id is None else (self.entity_id,)
        return tuple(sorted({*own, *self.negatives}))


@dataclass(frozen=True, slots=True)
class LinkingDocument:
    """A text with its mentions in order; `is_exhaustive`: every mention of it is among them.

    `place` is `file:line`.
    """

    id: str
    text: str
    mentions: tuple[GoldMention, ...]
    is_exhaustive: bool = True
    source: str = ""
    place: str = field(default="", compare=False)

    @property
    def digest(self) -> str:
        """Of all that predictions depend on."""
        gold = [[one.start, one.end, *one.candidates] for one in self.mentions]
        return hashlib.sha256(json.dumps([self.text, gold]).encode()).hexdigest()[:16]


def read_linking_documents(path: str | PathLike[str]) -> list[LinkingDocument]:
    """All documents of a file; raises InvalidInputError that names each wrong line."""
    lines, texts = JsonLines(Path(path)), LinkedTexts()
    documents: dict[str, LinkingDocument] = {}
    problems: list[str] = []
    for number, row in enumerate(lines.scan()):
        place = lines.where(number)
        wrong = [row] if isinstance(row, Problem) else list(texts.problems(row))
        problems += [f"{place}: {one}" for one in wrong]
        if isinstance(row, Problem) or wrong:
            continue
        found = _parse(row, place)
        if (earlier := documents.setdefault(found.id, found)) is not found:
            problems.append(f"{place}: id: the same as in {earlier.place}")
    if problems:
        raise InvalidInputError(
            f"{listed(problems)}; expected a text with its mentions a line, each id once; "
            "correct the lines"
        )
    if not documents:
        raise InvalidInputError(f"{path} holds no text; expected at least one; name another file")
    return list(documents.values())


def _parse(row: Mapping[str, Any], place: str) -> LinkingDocument:
    record = LinkedTextRecord.model_validate(row)
    # The record has no field for the kind, and puts its mentions in order.
    kinds = {one["start"]: str(one.get("kind") or "") for one in row["mentions"]}
    mentions = tuple(
        GoldMention(one.start, one.end, one.entity_id, one.negatives, kinds[one.start])
        for one in record.mentions
    )
    is_exhaustive = record.annotation == "exhaustive"
    source = str(row.get("source") or "")
    return LinkingDocument(record.id, record.text, mentions, is_exhaustive, source, place)


def read_trained_entities(paths: Iterable[str | PathLike[str]]) -> frozenset[str]:
    """Ids of the entities that the mentions of training files have."""
    return frozenset(
        mention.entity_id
        for path in paths
        for document in _read_training(Path(path))
        for mention in document.mentions
        if mention.entity_id is not None
    )


def _read_training(path: Path) -> Sequence[LinkingDocument]:
    lines, texts = JsonLines(path), LinkedTexts()
    for number, row in enumerate(lines):
        if problem := next(texts.problems(row), None):
            raise InvalidInputError(
                f"{lines.where(number)}: {problem}; expected texts with their mentions; name "
                "another file"
            )
    # Pieces of one text may share an id in a training file.
    return [_parse(row, lines.where(number)) for number, row in enumerate(lines)]


def spaced_documents(
    documents: Sequence[LinkingDocument], limit: int | None
) -> list[LinkingDocument]:
    """At most `limit` of them, evenly spaced over the file."""
    count = min(limit or len(documents), len(documents))
    return [documents[at * len(documents) // count] for at in range(count)]
