"""Work of a network beside its engine: bounded, in turns, and never on the event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from onegen_integrations.server.serving import serving_of
from onegen_model.errors import QueueFullError

# Each text to link has a cache and a thread of its own.
_LINKED_AT_ONCE = 4


class Turns:
    """At most `most` requests are admitted; `at_once` of them compute, in the order of `turn`."""

    def __init__(self, most: int, at_once: int = 1) -> None:
        self.turn = asyncio.Semaphore(at_once)
        self._most = most + at_once
        self._admitted = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Around a whole request; raises QueueFullError at once where too many are in."""
        if self._admitted >= self._most:
            raise QueueFullError(
                f"{self._admitted} requests of this kind are being served; expected fewer than "
                f"{self._most}; try again later"
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1


async def embedding_turns(request: Request) -> Turns:
    """A dependency of routes: one forward at a time, as a second one would only slow the first."""
    return _turns_of(request, "embedding_turns", 1)


async def linking_turns(request: Request) -> Turns:
    """A dependency of routes."""
    return _turns_of(request, "linking_turns", _LINKED_AT_ONCE)


def _turns_of(request: Request, name: str, at_once: int) -> Turns:
    # Called on the event loop alone, so that nobody makes them twice.
    state = request.app.state
    if not hasattr(state, name):
        setattr(state, name, Turns(serving_of(request).settings.max_queue, at_once))
    turns = getattr(state, name)
    assert isinstance(turns, Turns)
    return turns
