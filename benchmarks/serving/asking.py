"""Requests of all kinds, each with the answer that it must get."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import httpx

from benchmarks.serving.server import KEY

CHAT = "/v1/chat/completions"
# A client that is slow to read has a small buffer, so that the server's fills.
_SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
_SLOW_SECONDS = 0.05
_TIMEOUT = httpx.Timeout(600)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended; without a `fault` as it must. `first` and `gaps` are of its text."""

    kind: str
    fault: str = ""
    status: int = 0
    seconds: float = 0.0
    first: float | None = None
    gaps: tuple[float, ...] = ()
    tokens: int = 0
    retrievals: int = 0


@dataclass(slots=True)
class Caller:
    """The clients of a load; `chat` holds the fields that all chat requests have."""

    quick: httpx.AsyncClient
    slow: httpx.AsyncClient
    questions: Sequence[str]
    chat: Mapping[str, Any]
    max_body: int
    asked: int = field(default=0)

    def body(self, **more: Any) -> dict[str, Any]:
        """The next question as a chat request, with a seed of its own."""
        question = self.questions[self.asked % len(self.questions)]
        self.asked += 1
        messages = [{"role": "user", "content": question}]
        return {"messages": messages, "seed": self.asked, **self.chat, **more}


@asynccontextmanager
async def calling(
    url: str, questions: Sequence[str], chat: Mapping[str, Any], max_body: int
) -> AsyncIterator[Caller]:
    """Clients whose connections are closed at the end."""
    headers = {"Authorization": f"Bearer {KEY}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    small = httpx.AsyncHTTPTransport(socket_options=_SMALL_BUFFER, limits=limits)
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, limits=limits) as quick,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, transport=small) as slow,
    ):
        yield Caller(quick, slow, questions, chat, max_body)


async def stream(caller: Caller, random: Random) -> Outcome:
    """A stream that is read as it comes."""
    return await _stream("stream", caller.quick, caller.body())


async def slow_stream(caller: Caller, random: Random) -> Outcome:
    """A stream that is read more slowly than it is written."""
    return await _stream("slow stream", caller.slow, caller.body(), _SLOW_SECONDS)


async def _stream(
    kind: str, client: httpx.AsyncClient, body: dict[str, Any], pause: float = 0.0
) -> Outcome:
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    begun = time.perf_counter()
    times: list[float] = []
    chunks: list[dict[str, Any]] = []
    is_done = False
    async with client.stream("POST", CHAT, json=body) as reply:
        async for line in reply.aiter_lines():
            is_done = is_done or line == "data: [DONE]"
            if not line.startswith("data: {"):
                continue
            chunks.append(json.loads(line.removeprefix("data: ")))
            if _has_text(chunks[-1]):
                times.append(time.perf_counter() - begun)
            if pause:
                await asyncio.sleep(pause)
    ended = any(one["finish_reason"] for chunk in chunks for one in chunk.get("choices", ()))
    is_whole = reply.status_code == 200 and is_done and ended
    usage = chunks[-1].get("usage") if chunks else None
    fault = "" if is_whole and usage else f"{reply.status_code}: {json.dumps(chunks[-1:])[:300]}"
    return Outcome(
        kind,
        fault,
        reply.status_code,
        time.perf_counter() - begun,
        times[0] if times else None,
        tuple(after - before for before, after in pairwise(times)),
        usage["completion_tokens"] if usage else 0,
        usage["onegen"]["retrievals"] if usage else 0,
    )


def _has_text(chunk: Mapping[str, Any]) -> bool:
    deltas = [choice["delta"] for choice in chunk.get("choices", ())]
    return any(delta.get("content") or delta.get("reasoning_content") for delta in deltas)


async def whole(caller: Caller, random: Random) -> Outcome:
    """An answer in one piece."""

    def fault_of(found: Any) -> str:
        return "" if found["choices"][0]["finish_reason"] else "no finish_reason"

    return await post(caller, "whole answer", CHAT, caller.body(), fault_of)


async def left_stream(caller: Caller, random: Random) -> Outcome:
    """A client that leaves after a few lines of a stream."""
    most = random.randrange(1, 60)
    async with caller.quick.stream("POST", CHAT, json=caller.body(stream=True)) as reply:
        num = 0
        async for _ in reply.aiter_lines():
            num += 1
            if num >= most:
                break
    fault = "" if reply.status_code == 200 else f"{reply.status_code}"
    return Outcome("left stream", fault, reply.status_code)


async def left_answer(caller: Caller, random: Random) -> Outcome:
    """A client that leaves at any time before its answer is there."""
    asked = caller.quick.post(CHAT, json=caller.body())
    try:
        reply = await asyncio.wait_for(asked, random.uniform(0.001, 1.0))
    except TimeoutError:
        return Outcome("left answer")
    fault = "" if reply.status_code == 200 else f"{reply.status_code}"
    return Outcome("left answer", fault, reply.status_code)


async def embeddings(caller: Caller, random: Random) -> Outcome:
    texts = random.sample(list(caller.questions), min(4, len(caller.questions)))

    def fault_of(found: Any) -> str:
        return "" if len(found["data"]) == len(texts) else f"{len(found['data'])} embeddings"

    return await post(caller, "embeddings", "/v1/embeddings", {"input": texts}, fault_of)


async def rerank(caller: Caller, random: Random) -> Outcome:
    query, *documents = random.sample(list(caller.questions), min(6, len(caller.questions)))
    body = {"query": query, "documents": documents}

    def fault_of(found: Any) -> str:
        places = sorted(one["index"] for one in found["results"])
        return "" if places == list(range(len(documents))) else f"the documents {places}"

    return await post(caller, "rerank", "/v1/rerank", body, fault_of)


async def post(
    caller: Caller, kind: str, path: str, body: Any, fault_of: Callable[[Any], str]
) -> Outcome:
    """A request that must be answered with 200, and with what has no fault."""
    begun = time.perf_counter()
    reply = await caller.quick.post(path, json=body)
    fault = fault_of(reply.json()) if reply.status_code == 200 else reply.text[:300]
    seconds = time.perf_counter() - begun
    return Outcome(kind, fault and f"{reply.status_code}: {fault}", reply.status_code, seconds)


Ask = Callable[[Caller, Random], Awaitable[Outcome]]
