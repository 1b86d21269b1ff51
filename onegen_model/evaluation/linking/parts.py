"""Parts of the mentions, and of the texts, by which scores are split."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from onegen_model.evaluation.linking.documents import GoldMention, LinkingDocument
from onegen_model.evaluation.linking.gold_entities import GoldEntities

Wanted = Callable[[LinkingDocument, GoldMention], bool]
# The name of the part that a mention is in; "" for none.
_Split = Callable[[LinkingDocument, GoldMention], str]

ALL, EXHAUSTIVE, PARTIAL = "all", "every mention is marked", "some mentions are marked"


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the mentions."""

    name: str
    has: Wanted


def parts_of(
    documents: Sequence[LinkingDocument], gold: GoldEntities, trained: frozenset[str] | None
) -> list[Part]:
    """All mentions, then those of each source, kind and so on; nothing is said by a split that has
    one part."""
    found = [Part(ALL, lambda *_: True)]
    for split in _splits(gold, trained):
        names = {split(one, mention) for one in documents for mention in one.mentions} - {""}
        if len(names) > 1:
            found += [Part(name, partial(_is_in, split, name)) for name in sorted(names)]
    return found


def _is_in(split: _Split, name: str, document: LinkingDocument, mention: GoldMention) -> bool:
    return split(document, mention) == name


def _splits(gold: GoldEntities, trained: frozenset[str] | None) -> Iterator[_Split]:
    yield lambda document, _: EXHAUSTIVE if document.is_exhaustive else PARTIAL
    yield lambda document, _: document.source
    yield lambda _, mention: mention.kind
    yield lambda _, mention: _described(mention, gold)
    if trained is not None:
        yield lambda _, mention: _familiar(mention, trained)


def _described(mention: GoldMention, gold: GoldEntities) -> str:
    if mention.entity_id not in gold.known:
        return ""
    is_described = mention.entity_id in gold.described
    return "entity with description" if is_described else "entity without description"


def _familiar(mention: GoldMention, trained: frozenset[str]) -> str:
    if mention.entity_id is None:
        return ""
    return "entity seen in training" if mention.entity_id in trained else "entity never in training"


def exhaustive_texts(
    documents: Sequence[LinkingDocument],
) -> dict[str, list[LinkingDocument]]:
    """Texts whose every mention is marked: all of them, and those of each source."""
    whole = [one for one in documents if one.is_exhaustive]
    sources = sorted({one.source for one in whole})
    by_source = {name: [one for one in whole if one.source == name] for name in sources}
    return {ALL: whole} | (by_source if len(sources) > 1 else {}) if whole else {}
