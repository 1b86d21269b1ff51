"""One call of an entity linker: what the core is given, and what is made of its results."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import StringPromptValue

from onegen_integrations.langchain.entity_search import StoreEntities
from onegen_integrations.shared.entities import (
    UnscoredEntity,
    mention_values,
    with_known_score,
    with_known_scores,
)
from onegen_integrations.shared.linking_fields import params_from
from onegen_model import (
    LinkedText,
    LinkingParams,
    LinkingUsage,
    Mention,
    OneGenModel,
    entity_name,
)
from onegen_model.errors import InvalidInputError

# What the steps of a chain give: retrievers, chat models, prompts.
Linkable: TypeAlias = str | Document | BaseMessage | StringPromptValue

_ENTITIES = "entities"


@dataclass(frozen=True, slots=True)
class LinkingCall:
    """The arguments of the core."""

    model: OneGenModel
    texts: list[str]
    entities: Any
    linking: Any

    def link(self) -> list[LinkedText]:
        """The texts, read side by side."""
        linked = self.model.link(self.texts, entities=self.entities, linking=self.linking)
        return list(map(with_known_scores, linked))

    async def alink(self) -> list[LinkedText]:
        """Like `link`, without blocking the event loop."""
        linked = await self.model.alink(self.texts, entities=self.entities, linking=self.linking)
        return list(map(with_known_scores, linked))


def params_of_texts(linking: Any, entities: Any, managers: Sequence[BaseRunManager | None]) -> Any:
    """The parameters of each text; what is wrong with `linking` the core will say."""
    if isinstance(linking, Mapping):
        linking = params_from(linking)
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
    if isinstance(given, BaseMessage | StringPromptValue):
        return str(given.text)
    if isinstance(given, str):
        return given
    raise InvalidInputError(
        f"OneGenEntityLinker was given a {type(given).__name__}; expected a str, a Document, a "
        "message or the value of a PromptTemplate; link several with `batch`, or documents with "
        "`transform_documents`"
    )


def require_documents(given: object) -> list[Document]:
    """The documents as a list; raises InvalidInputError for anything else."""
    if isinstance(given, Document | str) or not isinstance(given, Iterable):
        shown = type(given).__name__  # A Document can be iterated, too: over its fields.
    else:
        listed = list(given)
        wrong = [one for one in listed if not isinstance(one, Document)]
        if not wrong:
            return listed
        shown = f"list with a {type(wrong[0]).__name__}"
    raise InvalidInputError(
        f"transform_documents was given a {shown}; expected a list of Documents; link texts with "
        "`invoke` or `batch`"
    )


@dataclass(slots=True)
class TextPieces:
    """A text that is cut behind each mention; `done` is the end of the last piece."""

    text: str
    done: int = 0

    def until(self, mention: Mention) -> LinkedText:
        """The piece that ends with a mention."""
        start, self.done = self.done, mention.end
        known = with_known_score(mention)
        moved = replace(known, start=mention.start - start, end=mention.end - start)
        return LinkedText(self.text[start : self.done], (moved,))

    def rest(self, usage: LinkingUsage) -> LinkedText:
        """The last piece, which holds the counters of the whole."""
        return LinkedText(self.text[self.done :], (), usage)


def mark(
    document: Document, mentions: Sequence[Mention], *, with_candidates: bool, flat: bool
) -> Document:
    """A copy whose metadata have the mentions, in JSON; as text if `flat`."""
    records = [_record(one, with_candidates=with_candidates) for one in mentions]
    value = json.dumps(records, ensure_ascii=False) if flat else records
    return document.model_copy(update={"metadata": {**document.metadata, _ENTITIES: value}})


def _record(mention: Mention, *, with_candidates: bool) -> dict[str, Any]:
    record = mention_values(mention)
    if with_candidates:
        record["candidates"] = [
            {
                "id": one.passage.id,
                "name": entity_name(one.passage),
                "score": None if isinstance(one, UnscoredEntity) else one.score,
            }
            for one in mention.candidates
        ]
    return record
