"""Turns on their way to a client: together, with signs of life, and ended when it leaves."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from onegen_integrations.server.answering import AnswerPiece
from onegen_integrations.server.turns import Turn

T = TypeVar("T")

# Seconds of silence after which proxies would close a stream.
HEARTBEAT = 15.0
# A line that clients of server-sent events skip.
COMMENT = ": working\n\n"

END = "data: [DONE]\n\n"

# What a turn gave last: a piece, its error, or None at its end.
_Item = tuple[int, AnswerPiece | Exception | None]


async def follow(
    turns: Sequence[Turn], heartbeat: float = HEARTBEAT
) -> AsyncGenerator[tuple[int, AnswerPiece] | None, None]:
    """The pieces of all turns as they come, each with the number of its turn.

    None where nothing came for `heartbeat` seconds. Raises the first error of a turn; at the end,
    whatever it is, all turns are closed.
    """
    queue: asyncio.Queue[_Item] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(at, turn, queue)) for at, turn in enumerate(turns)]
    num_open = len(turns)
    reading: asyncio.Task[_Item] | None = None
    try:
        while num_open:
            reading = reading or asyncio.create_task(queue.get())
            # Not `wait_for`: before Python 3.12 it may lose a cancellation, and with it the news
            # that the client has left.
            await asyncio.wait({reading}, timeout=heartbeat)
            if not reading.done():
                yield None
                continue
            (at, found), reading = reading.result(), None
            if isinstance(found, Exception):
                raise found
            if found is None:
                num_open -= 1
            else:
                yield at, found
    finally:
        # Before anything is awaited: where this task is cancelled, that raises at once.
        cancel_all(turns)
        for task in (*tasks, reading):
            if task is not None:
                task.cancel()


def cancel_all(turns: Sequence[Turn]) -> None:
    """End what has not finished."""
    for turn in turns:
        turn.cancel()


async def _pump(at: int, turn: Turn, queue: asyncio.Queue[_Item]) -> None:
    try:
        async for piece in turn:
            queue.put_nowait((at, piece))
        queue.put_nowait((at, None))
    except Exception as error:
        queue.put_nowait((at, error))
    finally:
        await turn.aclose()


def sent_event(plain: Mapping[str, Any], name: str = "") -> str:
    """A server-sent event with JSON as its data."""
    # ASCII, because some clients take other characters, such as U+2028, for ends of lines.
    data = f"data: {json.dumps(plain)}\n\n"
    return f"event: {name}\n{data}" if name else data


class EventResponse(StreamingResponse):
    """Server-sent events of turns, which end with the response, however it ends."""

    def __init__(self, events: AsyncGenerator[str, None], turns: Sequence[Turn]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            cancel_all(self._turns)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client leaves; then ClientDisconnect.

    The body of the request must have been read.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        working.cancel()
        if not working.done():
            with suppress(asyncio.CancelledError):
                await working


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
