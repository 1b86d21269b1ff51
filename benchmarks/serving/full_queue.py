"""How soon a full queue refuses, while every slot writes."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.asking import CHAT, Caller
from benchmarks.serving.load import percentiles
from benchmarks.serving.server import Server

_PATIENCE = 120.0
_PROBES = 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the engine that is filled."""

    max_queue: int
    slots: int = 64


async def measure(server: Server, caller: Caller, limits: Limits) -> dict[str, Any]:
    """Fill slots and queue, and ask for more."""
    number = limits.slots + limits.max_queue + 8
    holding = [asyncio.create_task(_hold(caller)) for _ in range(number)]
    try:
        is_full = await _filled(server, limits)
        found = [await _probe(caller) for _ in range(_PROBES)]
        counts = await asyncio.to_thread(server.counts)
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
    refused = [seconds for status, seconds in found if status == "429"]
    return {
        "was_full": is_full,
        "running": counts.running,
        "waiting": counts.waiting,
        "health_seconds": round(counts.health, 4),
        "statuses": dict(Counter(status for status, _ in found)),
        "seconds_of_429": percentiles(refused),
    }


async def _hold(caller: Caller) -> None:
    """Keep a place in the queue or a slot; one that is refused asks again, when it may."""
    while True:
        body = caller.body(stream=True, max_tokens=1500)
        async with caller.quick.stream("POST", CHAT, json=body) as reply:
            if reply.status_code == 200:
                await asyncio.Event().wait()  # Reading would take time from what is measured.
        await asyncio.sleep(float(reply.headers["retry-after"]))


async def _filled(server: Server, limits: Limits) -> bool:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        running, waiting, _ = await asyncio.to_thread(server.gauges)
        if running >= limits.slots and waiting >= limits.max_queue:
            return True
        await asyncio.sleep(0.05)
    return False


async def _probe(caller: Caller) -> tuple[str, float]:
    """The status of a further request, which leaves at once; 200 where the queue had room again."""
    begun = time.perf_counter()
    async with caller.quick.stream("POST", CHAT, json=caller.body(stream=True)) as reply:
        seconds = time.perf_counter() - begun
    if reply.status_code == 429 and not reply.headers.get("retry-after"):
        return "429 without Retry-After", seconds
    return str(reply.status_code), seconds
