"""A retriever that asks the model of the request that waits for it."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from transformers import PreTrainedModel

from onegen_model import OneGenModel, Passage, Query, SamplingParams, ScoredPassage
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.engine.transformers import TransformersEngine
from tests.conftest import make_tokenizer

SHORT = SamplingParams(max_new_tokens=6)


@pytest.fixture
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    checkpoint = Checkpoint(tiny_network, make_tokenizer(), CheckpointConfig(), "tiny")
    engine = TransformersEngine(tiny_network, max_requests=2)
    return OneGenModel(checkpoint, engine=engine, max_queue=1)


class Rewriting:
    """Asks the model to write each query anew before it searches."""

    def __init__(self, model: OneGenModel) -> None:
        self.model = model

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        texts = self.model.generate([f"Rewrite: {query.text}" for query in queries], sampling=SHORT)
        return [[ScoredPassage(Passage(f"p{len(one.ids)}", "A mill."), 1.0)] for one in texts]


class AsyncRewriting(Rewriting):
    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        asking = [
            self.model.agenerate(f"Rewrite: {query.text}", sampling=SHORT) for query in queries
        ]
        found = await asyncio.gather(*asking)
        return [[ScoredPassage(Passage(f"p{len(one.ids)}", "A mill."), 1.0)] for one in found]


def test_a_retriever_may_ask_the_model_though_all_slots_wait_for_it(model: OneGenModel) -> None:
    options: dict[str, Any] = {
        "retriever": Rewriting(model),
        "retrieval": "always",
        "sampling": SHORT,
    }
    found: list[Any] = []
    asking = [
        threading.Thread(
            target=lambda n=n: found.append(model.generate(f"Who is {n}?", **options)), daemon=True
        )
        for n in range(6)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert len(found) == 6
    assert len(model.generate([f"Where is {n}?" for n in range(6)], **options)) == 6


async def test_an_async_retriever_may_ask_the_model_too(model: OneGenModel) -> None:
    options: dict[str, Any] = {
        "retriever": AsyncRewriting(model),
        "retrieval": "always",
        "sampling": SHORT,
    }
    asking = [model.agenerate(f"Who is {n}?", **options) for n in range(6)]
    answers = await asyncio.wait_for(asyncio.gather(*asking), 60)
    assert all(answer.retrievals for answer in answers)
