"""The routes: a response, whole or as a stream of events, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from onegen_integrations.server.errors import ParameterError, failure_of, log_bug
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.annotations import Sources
from onegen_integrations.server.responses.items import Plain, without_results
from onegen_integrations.server.responses.kept_response import KeptResponse, owner_of
from onegen_integrations.server.responses.output_items import OutputItems
from onegen_integrations.server.responses.reading import AskedTurn, read_turn
from onegen_integrations.server.responses.response_body import ResponseBody
from onegen_integrations.server.responses.response_request import RESULTS, ResponseRequest
from onegen_integrations.server.serving import Serving, base_url, caller_of, serving_of
from onegen_integrations.server.stores.objects import deleted
from onegen_integrations.server.stores.paging import Paged
from onegen_integrations.server.turn_streams import (
    COMMENT,
    EventResponse,
    follow,
    sent_event,
    unless_gone,
)
from onegen_integrations.server.turns import Turn
from onegen_model import Message
from onegen_model.errors import ContextTooLongError

router = APIRouter(prefix="/v1/responses")

Shared = Annotated[Serving, Depends(serving_of)]
Known = Annotated[Caller, Depends(caller_of)]
Included = Annotated[list[str], Query()]


@router.post("", response_model=None)
async def create(
    asked: ResponseRequest, request: Request, serving: Shared, caller: Known
) -> Response:
    """Answer the input; the answer searches where it has the tool `file_search`."""
    model = serving.model(asked.model)
    read = await asyncio.to_thread(_read, asked, serving, caller)
    try:
        turn = await Turn.begin(model, read.turn)
    except ContextTooLongError as error:
        code = "context_length_exceeded"
        raise ParameterError(str(error), param="input", code=code) from error
    output = OutputItems(Sources(base_url(request)), asked.shows_results)
    writing = Writing(ResponseBody.of(asked, serving, output), turn, read, serving, caller)
    if asked.stream:
        return EventResponse(writing.events(), [turn])
    return _json(await unless_gone(request, writing.whole()))


@router.get("/{response_id}", response_model=None)
def show(
    response_id: str,
    serving: Shared,
    caller: Known,
    include: Included = [],  # noqa: B006 (read only)
    bracketed: Annotated[list[str], Query(alias="include[]")] = [],  # noqa: B006 (read only)
    stream: bool = False,
) -> Response:
    """A response that was kept."""
    if stream:
        raise ParameterError(
            "stream is not supported here; expected it left out, because no response is made in "
            "the background; leave it out",
            param="stream",
            code="unsupported_parameter",
        )
    body = serving.responses.get(response_id, caller).body
    if RESULTS not in (*include, *bracketed):
        body = {**body, "output": list(map(without_results, body["output"]))}
    return _json(body)


@router.delete("/{response_id}")
def delete(response_id: str, serving: Shared, caller: Known) -> dict[str, Any]:
    """Forget a response; those that continue it stay."""
    serving.responses.remove(response_id, caller)
    return deleted(response_id, "response")


@router.get("/{response_id}/input_items", response_model=None)
def list_input_items(response_id: str, serving: Shared, caller: Known, page: Paged) -> Response:
    """What a response was made from, earlier turns included."""
    items = serving.responses.get(response_id, caller).items
    return _json(page.of(items, lambda one: str(one["id"]), without_results))


@router.post("/{response_id}/cancel")
def cancel(response_id: str, serving: Shared, caller: Known) -> None:
    """Refused: what is kept has ended. A response ends early when its client leaves."""
    serving.responses.get(response_id, caller)
    raise ParameterError(
        f"The response {response_id} is not made in the background; expected one that is; close "
        "the connection of a response to end it",
        param="response_id",
        code="not_cancellable",
    )


@dataclass(slots=True)
class Writing:
    """A response on its way: its turn, and where it is kept."""

    body: ResponseBody
    turn: Turn
    read: AskedTurn
    serving: Serving
    caller: Caller

    async def whole(self) -> Plain:
        """The response when it has ended; raises what a turn raises."""
        async with aclosing(follow([self.turn])) as followed:
            async for found in followed:
                if found is not None:
                    self.body.output.feed(found[1])
        return await asyncio.to_thread(self._ended)

    async def events(self) -> AsyncGenerator[str, None]:
        """Server-sent events; the last one has the response, whatever became of it."""
        numbers = count()
        begun = ("response.created", "response.in_progress")
        try:
            for name in begun:
                yield _event({"type": name, "response": self.body.in_progress()}, next(numbers))
            async with aclosing(follow([self.turn])) as followed:
                async for found in followed:
                    if found is None:
                        yield COMMENT
                        continue
                    for event in self.body.output.feed(found[1]):
                        yield _event(event, next(numbers))
            ended = await asyncio.to_thread(self._ended)
        except Exception as error:
            log_bug(error, "The stream of a response")
            failure = failure_of(error)
            about = {"code": failure.code, "message": failure.message, "param": failure.param}
            yield _event({"type": "error", **about}, next(numbers))
            failed = {"type": "response.failed", "response": self.body.failed(failure)}
            yield _event(failed, next(numbers))
            return
        last = {"type": f"response.{ended['status']}", "response": ended}
        yield _event(last, next(numbers))

    def _ended(self) -> Plain:
        """The whole response, which is kept first."""
        body = self.body
        if body.is_kept:
            messages = _without_instructions(self.turn.messages, body.asked.instructions)
            kept = body.ended(with_results=True)
            response = KeptResponse(owner_of(self.caller), kept, self.read.items, messages)
            body.is_kept = self.serving.responses.add(response)
        return body.ended()


def _without_instructions(
    messages: tuple[Message, ...], instructions: str | None
) -> tuple[Message, ...]:
    return messages[1:] if instructions else messages


def _read(asked: ResponseRequest, serving: Serving, caller: Caller) -> AskedTurn:
    previous = None
    if asked.previous_response_id is not None:
        param = "previous_response_id"
        previous = serving.responses.get(asked.previous_response_id, caller, param)
    return read_turn(asked, serving, caller, previous)


def _json(plain: Plain) -> Response:
    # ASCII, because half a surrogate pair in metadata has no other form.
    return Response(json.dumps(plain), media_type="application/json")


def _event(plain: Plain, number: int) -> str:
    return sent_event({**plain, "sequence_number": number}, plain["type"])
