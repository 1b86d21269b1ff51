"""Mixed requests for some minutes, counted before, meanwhile and after."""

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import httpx
import numpy as np

from benchmarks.serving import asking
from benchmarks.serving.asking import Ask, Caller, Outcome
from benchmarks.serving.filing import file
from benchmarks.serving.refused import REFUSED
from benchmarks.serving.server import Server

# What a stream sends next, by weight.
MIX: tuple[tuple[int, Ask], ...] = (
    (44, asking.stream),
    (10, asking.slow_stream),
    (8, asking.whole),
    (7, asking.left_stream),
    (5, asking.left_answer),
    (7, asking.embeddings),
    (4, asking.rerank),
    (3, file),
    *((1, one) for one in REFUSED),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked. `alone` requests are sent one by one before the load."""

    streams: int
    seconds: float
    warm_seconds: float
    alone: int
    settle_seconds: float = 7.0  # Idle connections are closed after five.
    sample_seconds: float = 10.0


async def mixed(caller: Caller, streams: int, seconds: float, seed: int) -> list[Outcome]:
    """`streams` clients that each send one request after the other; what is begun may end."""
    until = time.monotonic() + seconds
    outcomes: list[Outcome] = []

    async def one(number: int) -> None:
        random = Random(f"{seed} {number}")
        weights, kinds = zip(*MIX, strict=True)
        while time.monotonic() < until:
            (ask,) = random.choices(kinds, weights)
            outcomes.append(await safely(ask, caller, random))

    await asyncio.gather(*(one(number) for number in range(streams)))
    return outcomes


async def safely(ask: Ask, caller: Caller, random: Random) -> Outcome:
    """A connection that breaks is a fault of its request."""
    try:
        return await ask(caller, random)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        kind = getattr(ask, "kind", None) or getattr(ask, "__name__", "?")
        return Outcome(str(kind), f"{type(error).__name__}: {error}")


async def sampled(server: Server, every: float, into: list[dict[str, float]]) -> None:
    """Counts of the server until this is cancelled."""
    begun = time.monotonic()
    while True:
        counts = await asyncio.to_thread(server.counts)
        into.append({"at": round(time.monotonic() - begun, 1), **rounded(asdict(counts))})
        await asyncio.sleep(every)


async def alone(caller: Caller, number: int) -> tuple[list[Outcome], float]:
    """Streams one by one, and their seconds together."""
    begun = time.perf_counter()
    outcomes = [await safely(asking.stream, caller, Random(at)) for at in range(number)]
    return outcomes, time.perf_counter() - begun


async def run(server: Server, caller: Caller, plan: Plan) -> dict[str, Any]:
    """The whole measurement but that of a full queue."""
    await mixed(caller, plan.streams, plan.warm_seconds, seed=0)
    before = await asyncio.to_thread(server.settle, plan.settle_seconds)
    caller.asked = 0
    single, single_seconds = await alone(caller, plan.alone)
    caller.asked = 0
    samples: list[dict[str, float]] = []
    sampling = asyncio.create_task(sampled(server, plan.sample_seconds, samples))
    written, begun = server.metric("generation_tokens_total"), time.perf_counter()
    outcomes = await mixed(caller, plan.streams, plan.seconds, seed=1)
    seconds = time.perf_counter() - begun
    written = server.metric("generation_tokens_total") - written
    sampling.cancel()
    after = await asyncio.to_thread(server.settle, plan.settle_seconds)
    return {
        "requests": len(outcomes),
        "seconds": round(seconds, 1),
        "kinds": kinds(outcomes),
        "faults": faults(outcomes),
        "one by one": speed(single, single_seconds),
        "together": {
            **speed([one for one in outcomes if one.kind == "stream"], seconds),
            "tokens_per_second": round(written / seconds, 1),
        },
        "counts": {"before": rounded(asdict(before)), "after": rounded(asdict(after))},
        "health_seconds": percentiles([one["health"] for one in samples]),
        "samples": samples,
        "load_average": [round(one, 1) for one in os.getloadavg()],
    }


def kinds(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Numbers of requests by kind, how many had a fault, and their statuses."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        by_kind[one.kind].append(one)
    return {
        kind: {
            "requests": len(some),
            "faults": sum(bool(one.fault) for one in some),
            "statuses": {str(at): n for at, n in sorted(Counter(o.status for o in some).items())},
            "seconds": percentiles([one.seconds for one in some if one.seconds]),
        }
        for kind, some in sorted(by_kind.items())
    }


def faults(outcomes: Sequence[Outcome]) -> list[str]:
    """The most frequent ones, cut: results quote nothing."""
    found = Counter(cut(f"{one.kind}: {one.fault}") for one in outcomes if one.fault)
    return [f"{number} x {text}" for text, number in found.most_common(20)]


def cut(text: str) -> str:
    """As much of a text as a result may hold."""
    return text[:100]


def speed(streams: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Times of streams as their clients see them, and their tokens per second."""
    return {
        "streams": len(streams),
        "first_token_seconds": percentiles([o.first for o in streams if o.first is not None]),
        "between_tokens_seconds": percentiles([gap for one in streams for gap in one.gaps]),
        "stream_seconds": percentiles([one.seconds for one in streams]),
        "retrievals": sum(one.retrievals for one in streams),
        "tokens_per_second": round(sum(one.tokens for one in streams) / seconds, 1),
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and the largest."""
    if not values:
        return None
    middle, high = np.percentile(values, (50, 95))
    return {"p50": round(middle, 4), "p95": round(high, 4), "max": round(max(values), 4)}


def rounded(counts: dict[str, Any]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in counts.items()}
