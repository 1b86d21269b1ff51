"""`/v1/link`: the mentions of texts, each with its entity. The text itself never changes."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send

from onegen_integrations.server.errors import Failure, ParameterError, failure_of, log_bug
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.serving import Serving, caller_of, serving_of
from onegen_integrations.server.turn_streams import END, EventResponse, sent_event, unless_gone
from onegen_integrations.server.vectors.inputs import read_list
from onegen_integrations.server.vectors.turns import Turns, linking_turns
from onegen_model import (
    AsyncMentionStream,
    LinkedText,
    LinkingParams,
    LinkingUsage,
    Mention,
    PassageIndex,
    ScoredPassage,
    entity_name,
    matches_filter,
)

router = APIRouter()

Plain = dict[str, Any]

_NOT_HERE = Failure(
    501,
    "This server links no entities; expected a model that does, and an index of entities; start it "
    "with `--model entity-linking --entities DIR`",
    "not_implemented_error",
    code="linking_unavailable",
)


class LinkRequest(BaseModel):
    """A text, or several texts, and the fields of LinkingParams.

    Positions are in characters (code points). `mentions` and `stream` go with one text. `filter`
    and `candidates` may be combined; of the candidates those are left that pass the filter.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    text: str | None = None
    texts: list[str] | None = None
    mentions: list[tuple[int, int]] | None = None
    candidates: list[str] | list[list[str]] | None = None
    filter: dict[str, Any] | None = None
    num_candidates: int | None = None
    nil_threshold: float | None = None
    name_weight: float | None = None
    mention_threshold: float | None = None
    max_mention_tokens: int | None = None
    window: int | None = None
    overlap: int | None = None
    stream: bool = False
    user: str | None = None


@router.post("/v1/link")
async def link(
    asked: LinkRequest,
    request: Request,
    serving: Annotated[Serving, Depends(serving_of)],
    turns: Annotated[Turns, Depends(linking_turns)],
) -> Any:
    """Mark the mentions of a text and link each to its entity; with `stream` as soon as it ends."""
    name = _linking_name(serving, asked.model)
    if name is None or serving.entities is None:
        return _NOT_HERE.response()
    model, entities = serving.model(name), serving.entities
    texts = _texts(asked)
    linking = _params(asked, caller_of(request), entities)
    if asked.stream:
        stream = model.astream_link(texts[0], entities=entities, linking=linking)
        events = _events(stream, turns)
        # What is wrong before the first event is the status of the answer.
        first = await unless_gone(request, anext(events))
        return _MentionResponse(first, events)

    async def work() -> list[LinkedText]:
        async with turns.turn:
            return await model.alink(texts, entities=entities, linking=linking)

    with turns.admitted():
        found = await unless_gone(request, work())
    if asked.text is not None:
        return {"object": "linked_text", "model": name, **_plain(found[0])}
    data = [{"index": at, **_plain(one)} for at, one in enumerate(found)]
    usage = asdict(sum((one.usage for one in found), LinkingUsage()))
    return {"object": "list", "model": name, "data": data, "usage": usage}


def _linking_name(serving: Serving, name: str | None) -> str | None:
    """The name of the model that links; None where there is none."""
    linking = [one for one, model in serving.models.items() if model.can_link]
    if name is not None and not serving.model(name).can_link and linking:
        raise ParameterError(
            f"The model {name!r} links no entities; expected one of {', '.join(linking)}; change "
            "`model`",
            param="model",
        )
    return name if name in linking else next(iter(linking), None)


def _texts(asked: LinkRequest) -> list[str]:
    if (asked.text is None) == (asked.texts is None):
        raise ParameterError(
            "The request has both or none of text and texts; expected one of them; send one",
            param="text",
        )
    if asked.text is not None:
        return [asked.text]
    if asked.stream or asked.mentions is not None:
        param = "stream" if asked.stream else "mentions"
        raise ParameterError(
            f"{param} goes with one text; expected `text`; send a request for each", param=param
        )
    return read_list(asked.texts, "texts")


def _params(asked: LinkRequest, caller: Caller, entities: PassageIndex) -> LinkingParams:
    """The parameters, which find nothing outside of the caller's scope."""
    names = [one.name for one in fields(LinkingParams) if one.name != "filter"]
    given = {name: value for name in names if (value := getattr(asked, name)) is not None}
    chosen = caller.narrowed(asked.filter)
    if asked.candidates is not None and chosen:
        return LinkingParams(**given | {"candidates": _within(asked.candidates, chosen, entities)})
    return LinkingParams(**given, filter=chosen)


def _within(candidates: Sequence[Any], chosen: Any, entities: PassageIndex) -> list[Any]:
    """The ids of entities that pass a filter, in the lists that they came in."""
    matches_filter({}, chosen)  # A wrong filter is refused, whatever the candidates are.

    def passes(identifier: str) -> bool:
        entity = entities.get(identifier)
        return entity is not None and matches_filter(entity.metadata, chosen)

    return [
        one if isinstance(one, str) else list(filter(passes, one))
        for one in candidates
        if not isinstance(one, str) or passes(one)
    ]


async def _events(stream: AsyncMentionStream, turns: Turns) -> AsyncGenerator[Plain, None]:
    with turns.admitted():
        async with turns.turn, stream:
            async for mention in stream:
                yield {"type": "mention", **_mention(mention)}
            yield {"type": "completed", "usage": asdict(stream.linked.usage)}


class _MentionResponse(EventResponse):
    """Server-sent events of a text. Its work ends with the response, however it ends."""

    def __init__(self, first: Plain, events: AsyncGenerator[Plain, None]) -> None:
        super().__init__(_written(first, events), ())
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def _written(first: Plain, events: AsyncGenerator[Plain, None]) -> AsyncGenerator[str, None]:
    yield sent_event(first)
    try:
        async for one in events:
            yield sent_event(one)
    except Exception as error:
        log_bug(error, "The stream of links")
        yield sent_event(failure_of(error).body)
        return
    yield END


def _plain(linked: LinkedText) -> Plain:
    mentions = [_mention(one) for one in linked.mentions]
    return {"text": linked.text, "mentions": mentions, "usage": asdict(linked.usage)}


def _mention(mention: Mention) -> Plain:
    return {
        "start": mention.start,
        "end": mention.end,
        "surface": mention.surface,
        "score": mention.score,
        "entity": mention.entity and _entity(mention.entity),
        "candidates": [_entity(one) for one in mention.candidates],
    }


def _entity(scored: ScoredPassage) -> Plain:
    entity = scored.passage
    return {
        "id": entity.id,
        "name": entity_name(entity),
        "description": entity.text if entity.title else "",
        "score": scored.score,
        "metadata": dict(entity.metadata),
    }
