"""Embedding beside answers: bounded, fair, and not on the event loop."""

import asyncio
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import ClientDisconnect

from onegen_integrations.server import Serving, create_app
from onegen_integrations.server.vectors.embedding import EmbeddingCall
from onegen_integrations.server.vectors.relevance import find_relevance
from onegen_integrations.server.vectors.turns import Turns
from onegen_model import AsyncMentionStream, OneGenModel, Passage
from onegen_model.errors import QueueFullError
from tests.support.linking_model import entity_index, linking_model


def test_a_full_queue_refuses_at_once() -> None:
    turns = Turns(1)
    with turns.admitted(), turns.admitted(), pytest.raises(QueueFullError):
        turns.admitted().__enter__()
    with turns.admitted():
        pass


class Waiting:
    """A request whose client leaves after a number of looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.app = SimpleNamespace(state=SimpleNamespace(serving=Serving({})))

    async def is_disconnected(self) -> bool:
        self.looks -= 1
        return self.looks < 0


class CountingModel:
    dimension = 1

    def __init__(self) -> None:
        self.slices: list[str] = []

    def embed_queries(self, texts: list[str]) -> Any:
        self.slices.append(texts[0])
        return np.ones((len(texts), 1), np.float32)


def test_long_requests_take_turns_and_end_when_nobody_waits() -> None:
    model: Any = CountingModel()

    async def both() -> Any:
        turns = Turns(8)
        waiting: Any = Waiting(9)
        leaving: Any = Waiting(1)
        long, left = (EmbeddingCall(model, turns, one) for one in (waiting, leaving))
        return await asyncio.gather(
            long.queries(["a"] * 130, "input"),
            left.queries(["b"] * 130, "input"),
            return_exceptions=True,
        )

    found, gone = asyncio.run(both())
    assert found.shape == (130, 1)
    assert isinstance(gone, ClientDisconnect)
    assert model.slices == ["a", "b", "a", "a"]


def test_scores_are_not_computed_on_the_event_loop() -> None:
    threads: list[threading.Thread] = []

    class Vectors(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            threads.append(threading.current_thread())
            return np.asarray(self) @ np.asarray(other)

    class Call:
        model = SimpleNamespace(
            fragments=lambda document: [document],
            count_tokens=len,
            template=SimpleNamespace(passage_text=lambda passage: passage.text),
        )

        async def queries(self, texts: list[str], _: str) -> Any:
            return np.ones((len(texts), 1), np.float32)

        async def passages(self, passages: list[Passage], _: str) -> Any:
            return np.ones((len(passages), 1), np.float32).view(Vectors)

    call: Any = Call()
    found = asyncio.run(find_relevance(call, [("Who?", Passage("a", "Ann."))]))
    assert found.scores == (1.0,)
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("stream", [False, True])
def test_linking_ends_when_its_client_leaves(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    async def wait(*_: object, **__: object) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(OneGenModel, "alink", wait)
    monkeypatch.setattr(AsyncMentionStream, "__anext__", wait)
    linker = linking_model()
    app = create_app(Serving({"linker": linker}, entities=entity_index(linker)))
    messages = [
        {"type": "http.request", "body": json.dumps({"text": "Ada", "stream": stream}).encode()},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/link",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    assert ended == [True]
    assert sent[0]["status"] == 499


def test_answers_are_the_same_while_texts_are_embedded(
    serve: Callable[..., Serving], model: OneGenModel
) -> None:
    texts = [f"{'word ' * (at % 9)}number {at}" for at in range(200)]
    alone = model.generate("Who founded Alba?").text
    expected = model.embed_queries(texts)

    async def all_at_once() -> Any:
        transport = httpx.ASGITransport(create_app(serve()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"input": texts, "input_type": "query"}
            return await asyncio.gather(
                client.post("/v1/embeddings", json=body),
                model.agenerate("Who founded Alba?"),
                client.post("/v1/embeddings", json=body),
            )

    one, answer, other = asyncio.run(all_at_once())
    assert answer.text == alone
    for reply in (one, other):
        found = [row["embedding"] for row in reply.json()["data"]]
        np.testing.assert_allclose(found, expected, atol=1e-5)
