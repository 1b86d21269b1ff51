"""The route: chat completions, whole or as a stream of chunks."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from onegen_integrations.server.chat.chat_request import ChatRequest
from onegen_integrations.server.chat.choices import Choice, Plain, usage_of
from onegen_integrations.server.chat.reading import read_turns
from onegen_integrations.server.errors import failure_of, log_bug
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.serving import Serving, base_url, caller_of, serving_of
from onegen_integrations.server.turn_streams import (
    COMMENT,
    END,
    EventResponse,
    cancel_all,
    follow,
    sent_event,
    unless_gone,
)
from onegen_integrations.server.turns import Turn, TurnRequest
from onegen_model import OneGenModel

router = APIRouter()

Shared = Annotated[Serving, Depends(serving_of)]
Known = Annotated[Caller, Depends(caller_of)]


@dataclass(frozen=True, slots=True)
class Completion:
    """What all chunks of a completion have in common."""

    model: str
    object: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def plain(self, choices: list[Plain], **more: Any) -> Plain:
        """The completion, or a chunk of it, as JSON."""
        about = {"id": self.id, "object": self.object, "created": self.created}
        return {**about, "model": self.model, "choices": choices, **more}


@router.post("/v1/chat/completions", response_model=None)
async def complete(
    asked: ChatRequest, request: Request, serving: Shared, caller: Known
) -> Response:
    """Answer the last message; the answer may search on the way."""
    model = serving.model(asked.model)
    requests = await asyncio.to_thread(read_turns, asked, serving, caller)
    turns = await _begin(model, requests)
    name = asked.model or serving.default_model
    scored_by = model if asked.logprobs else None
    choices = [Choice(at, base_url(request), scored_by) for at in range(len(turns))]
    if asked.stream:
        completion = Completion(name, "chat.completion.chunk")
        return EventResponse(_events(completion, choices, turns, asked.wants_usage), turns)
    await unless_gone(request, _collect(choices, turns))
    whole = [choice.whole for choice in choices]
    completion = Completion(name, "chat.completion")
    return JSONResponse(completion.plain(whole, usage=usage_of(choices)))


async def _begin(model: OneGenModel, requests: Sequence[TurnRequest]) -> list[Turn]:
    """All of them, or none; raises what `Turn.begin` raises."""
    turns: list[Turn] = []
    try:
        for request in requests:
            turns.append(await Turn.begin(model, request))
    except BaseException:
        cancel_all(turns)
        raise
    return turns


async def _collect(choices: Sequence[Choice], turns: Sequence[Turn]) -> None:
    async with aclosing(follow(turns)) as followed:
        async for found in followed:
            if found is not None:
                choices[found[0]].feed(found[1])


async def _events(
    completion: Completion, choices: list[Choice], turns: Sequence[Turn], wants_usage: bool
) -> AsyncGenerator[str, None]:
    """Server-sent events; an error is the last one."""
    empty = {"usage": None} if wants_usage else {}
    try:
        for choice in choices:
            yield sent_event(completion.plain([choice.open()], **empty))
        async with aclosing(follow(turns)) as followed:
            async for found in followed:
                if found is None:
                    yield COMMENT
                    continue
                for chunk in choices[found[0]].feed(found[1]):
                    yield sent_event(completion.plain([chunk], **empty))
    except Exception as error:
        log_bug(error, "The stream of a chat completion")
        yield sent_event(failure_of(error).body)
        return
    if wants_usage:
        yield sent_event(completion.plain([], usage=usage_of(choices)))
    yield END
