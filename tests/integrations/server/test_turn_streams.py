"""Turns on their way to a client that may leave at any moment."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from onegen_integrations.server.turn_streams import follow


class WaitingTurn(AsyncIterator[str]):
    """Has a piece whenever `ready` is set, and no end."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.is_cancelled = False

    async def __anext__(self) -> str:
        await self.ready.wait()
        self.ready.clear()
        return "piece"

    def cancel(self) -> None:
        self.is_cancelled = True

    async def aclose(self) -> None:
        self.cancel()


@pytest.mark.parametrize("steps", range(8))
def test_who_leaves_as_a_piece_comes_ends_the_turn(steps: int) -> None:
    async def leave() -> bool:
        turn: Any = WaitingTurn()

        async def read() -> None:
            async for _ in follow([turn]):
                pass

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        turn.ready.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading}, timeout=1)
        return bool(turn.is_cancelled)

    assert asyncio.run(leave())


def test_silence_is_told_and_no_piece_is_lost() -> None:
    async def read() -> list[object]:
        turn: Any = WaitingTurn()
        followed = follow([turn], heartbeat=0.001)
        silent = await anext(followed)
        turn.ready.set()
        found = None
        while found is None:
            found = await anext(followed)
        await followed.aclose()
        return [silent, found]

    assert asyncio.run(read()) == [None, (0, "piece")]
