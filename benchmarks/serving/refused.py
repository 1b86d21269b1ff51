"""Requests that a server must refuse, each with the status that it must give."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.serving.asking import CHAT, Caller, Outcome


@dataclass(frozen=True, slots=True)
class Refused:
    """`content` is a body as it is sent."""

    kind: str
    status: int
    content: Callable[[Caller], bytes]
    path: str = CHAT
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(self, caller: Caller, random: Random) -> Outcome:
        headers = {"content-type": "application/json", **self.headers}
        begun = time.perf_counter()
        content = self.content(caller)
        reply = await caller.quick.post(self.path, content=content, headers=headers)
        seconds = time.perf_counter() - begun
        fault = ""
        if reply.status_code != self.status or not _is_error(reply.json()):
            fault = f"{reply.status_code} in place of {self.status}: {reply.text[:300]}"
        return Outcome(f"refused: {self.kind}", fault, reply.status_code, seconds)


def _is_error(found: Any) -> bool:
    return bool(found["error"]["message"])


def _changed(**more: Any) -> Callable[[Caller], bytes]:
    return lambda caller: json.dumps(caller.body(**more)).encode()


def _long(caller: Caller) -> bytes:
    text = " ".join(caller.questions) + " "
    long = text * (60_000 // len(text) + 1)
    return json.dumps(caller.body(messages=[{"role": "user", "content": long}])).encode()


def _large(caller: Caller) -> bytes:
    return json.dumps(caller.body(user="x" * caller.max_body)).encode()


REFUSED = (
    Refused("no JSON", 400, lambda _: b'{"messages": ['),
    Refused("half a character", 400, lambda _: b'{"messages": "\xff"}'),
    Refused("a wrong type", 400, _changed(temperature="hot")),
    Refused("no messages", 400, lambda _: b"{}"),
    Refused("a parameter that is not followed", 400, _changed(logit_bias={"5": 1})),
    Refused("an unknown model", 404, _changed(model="no-such-model")),
    Refused("an unknown vector store", 404, _changed(retrieval={"vector_store_ids": ["vs_no"]})),
    Refused("over the context", 400, _long),
    Refused("a large body", 413, _large),
    Refused("a wrong key", 401, _changed(), headers={"Authorization": "Bearer wrong"}),
    Refused("no input", 400, lambda _: b'{"input": 5}', "/v1/embeddings"),
    Refused("no documents", 400, lambda _: b'{"query": "?", "documents": 1}', "/v1/rerank"),
)
