"""One call of an entity linker: what the core is given, and a linked text in pieces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.documents import Document

from onegen_integrations.langchain.entity_search import StoreEntities
from onegen_integrations.shared.entities import mention_values
from onegen_model import (
    LinkedText,
    LinkingParams,
    LinkingUsage,
    Mention,
    OneGenModel,
    entity_name,
)
from onegen_model.errors import InvalidInputError

Linkable: TypeAlias = str | Document


@dataclass(frozen=True, slots=True)
class LinkingCall:
    """The arguments of the core."""

    model: OneGenModel
    texts: list[str]
    entities: Any
    linking: Any

    def link(self) -> list[LinkedText]:
        """The texts, read side by side."""
        return self.model.link(self.texts, entities=self.entities, linking=self.linking)

    async def alink(self) -> list[LinkedText]:
        """Like `link`, without blocking the event loop."""
        return await self.model.alink(self.texts, entities=self.entities, linking=self.linking)


def params_of_texts(linking: Any, entities: Any, managers: Sequence[BaseRunManager | None]) -> Any:
    """The parameters of each text; what is wrong with `linking` the core will say."""
    if linking is None or isinstance(linking, LinkingParams):
        linking = [linking or LinkingParams()] * len(managers)
    if not isinstance(entities, StoreEntities) or not _is_for_each(linking, managers):
        return linking
    return [
        entities.in_run(one, manager) if isinstance(one, LinkingParams) else one
        for one, manager in zip(linking, managers, strict=True)
    ]


def one_by_one(
    inputs: Sequence[Linkable], managers: Sequence[Any], called: Mapping[str, Any]
) -> Iterator[tuple[list[Linkable], list[Any], dict[str, Any]]]:
    """The inputs of a batch one by one, each with its manager and its own options."""
    linking: Any = called.get("linking")
    for at, (one, manager) in enumerate(zip(inputs, managers, strict=True)):
        own = {"linking": [linking[at]]} if _is_for_each(linking, inputs) else {}
        yield [one], [manager], {**called, **own}


def _is_for_each(linking: Any, texts: Sequence[object]) -> bool:
    return isinstance(linking, list | tuple) and len(linking) == len(texts)


def text_of(given: object) -> str:
    """The text of an input; raises InvalidInputError for one that has none."""
    if isinstance(given, Document):
        return given.page_content
    if isinstance(given, str):
        return given
    raise InvalidInputError(
        f"OneGenEntityLinker was given a {type(given).__name__}; expected a str or a Document; "
        "link several with `batch`, or documents with `transform_documents`"
    )


@dataclass(slots=True)
class TextPieces:
    """A text that is cut behind each mention; `done` is the end of the last piece."""

    text: str
    done: int = 0

    def until(self, mention: Mention) -> LinkedText:
        """The piece that ends with a mention."""
        start, self.done = self.done, mention.end
        moved = replace(mention, start=mention.start - start, end=mention.end - start)
        return LinkedText(self.text[start : self.done], (moved,))

    def rest(self, usage: LinkingUsage) -> LinkedText:
        """The last piece, which holds the counters of the whole."""
        return LinkedText(self.text[self.done :], (), usage)


def mention_record(mention: Mention, *, with_candidates: bool) -> dict[str, Any]:
    """A mention as metadata, in JSON."""
    record = mention_values(mention)
    if with_candidates:
        record["candidates"] = [
            {"id": one.passage.id, "name": entity_name(one.passage), "score": one.score}
            for one in mention.candidates
        ]
    return record
