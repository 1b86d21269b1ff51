"""Embedding beside answers: bounded, fair, and not on the event loop."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.exceptions import HTTPException

from onegen_integrations.server import Serving, create_app
from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.observing.observer import Observer
from onegen_integrations.server.vectors.embedding import EmbeddingCall
from onegen_integrations.server.vectors.turns import Turns
from onegen_model import OneGenModel, Passage
from onegen_model.errors import CheckpointError, QueueFullError


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
        serving = SimpleNamespace(observer=Observer({}))
        self.app = SimpleNamespace(state=SimpleNamespace(serving=serving))

    async def is_disconnected(self) -> bool:
        self.looks -= 1
        return self.looks < 0


class CountingModel:
    dimension = 1

    def __init__(self) -> None:
        self.slices: list[str] = []

    def embed_passages(self, _: object) -> Any:
        raise CheckpointError("This checkpoint links entities and answers no questions")

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
    assert isinstance(gone, HTTPException)
    assert model.slices == ["a", "b", "a", "a"]


def test_a_model_that_cannot_embed_them_is_the_wrong_parameter() -> None:
    model: Any = CountingModel()
    waiting: Any = Waiting(9)

    async def embed() -> Any:
        return await EmbeddingCall(model, Turns(1), waiting).passages([Passage("a", "b")], "input")

    with pytest.raises(ParameterError, match="answers no questions") as caught:
        asyncio.run(embed())
    assert caught.value.param == "model"


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
