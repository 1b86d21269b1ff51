"""The model and its caller: wrong arguments before any work, one failure in a batch, forks."""

import asyncio
import os
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model import Conversation, Message, OneGenModel, Query, SamplingParams
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import InvalidInputError, RetrievalError
from onegen_model.transcript.answer import Answer
from tests.conftest import make_tokenizer
from tests.support.forks import in_child

SHORT = SamplingParams(max_new_tokens=8)


@pytest.fixture
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, make_tokenizer(), config, "tiny"))


@pytest.fixture
def no_engine(model: OneGenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work means to build an engine."""

    def build(*arguments: Any, **options: Any) -> TransformersEngine:
        raise AssertionError("an engine was built")

    monkeypatch.setattr("onegen_model.runtime.TransformersEngine", build)


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (None, "questions is None of type NoneType; expected a string, a Conversation, or a list"),
        (3, "questions is 3 of type int"),
        ({"a": "b"}, "of type dict"),
        ((text for text in ("a", "b")), "of type generator"),
        (["a", None], r"questions\[1\] is None of type NoneType"),
        (["a", 2.5], r"questions\[1\] is 2.5 of type float"),
    ],
)
def test_something_that_is_no_question_is_refused_before_any_work(
    model: OneGenModel, questions: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        model.generate(questions)
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(model.agenerate(questions))


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": [("user", "a")]}, "history is .* of type list; expected the Answer of the"),
        ({"retrieval": {"top_k": 3}}, "retrieval is .* of type dict; expected RetrievalParams"),
        ({"retrieval": "sometimes"}, "retrieval is 'sometimes' of type str"),
        ({"sampling": {"temperature": 1}}, "sampling is .* of type dict"),
        ({"retriever": "my.index"}, "str is not a retriever"),
    ],
)
def test_an_option_of_a_wrong_kind_is_refused_before_any_work(
    model: OneGenModel, options: dict[str, Any], message: str
) -> None:
    for ask in (model.generate, model.stream, model.astream):
        with pytest.raises(InvalidInputError, match=message):
            ask("Who?", **options)
    with pytest.raises(InvalidInputError, match=message):
        model.submit("Who?", **options)


class Broken:
    """Fails for one question."""

    def retrieve(self, queries: Sequence[Query]) -> list[list[Any]]:
        if any(query.question == "Who?" for query in queries):
            raise OSError("the store is down")
        return [[] for _ in queries]


def test_one_failed_question_of_a_batch_leaves_the_other_answers(model: OneGenModel) -> None:
    questions = ["Why?", "Who?", "", "Where?"]
    options: dict[str, Any] = {"retriever": Broken(), "retrieval": "always", "sampling": SHORT}
    for outcomes in (
        model.generate(questions, return_exceptions=True, **options),
        asyncio.run(model.agenerate(questions, return_exceptions=True, **options)),
    ):
        assert list(map(type, outcomes)) == [Answer, RetrievalError, InvalidInputError, Answer]
    with pytest.raises(RetrievalError, match="the store is down"):
        model.generate(["Why?", "Who?"], **options)


async def test_the_first_question_of_a_loop_does_not_block_it(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, go_on = threading.Event(), threading.Event()

    def build(*arguments: Any, **options: Any) -> TransformersEngine:
        building.set()
        assert go_on.wait(20)
        return TransformersEngine(*arguments, **options)

    monkeypatch.setattr("onegen_model.runtime.TransformersEngine", build)

    async def stream() -> None:
        conversation = Conversation((Message("user", "Who?"),))
        async for _ in model.astream(conversation, sampling=SHORT):
            pass

    asking = [asyncio.create_task(stream()), asyncio.create_task(model.agenerate("Why?"))]
    while not building.is_set():
        await asyncio.sleep(0.001)
    go_on.set()
    await asyncio.wait_for(asyncio.gather(*asking), 20)


def test_a_queue_that_another_thread_has_filled_meanwhile_is_waited_for(
    tiny_network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tiny_network, make_tokenizer(), CheckpointConfig(), "tiny")
    model = OneGenModel(checkpoint, max_queue=1)
    wait, others = model.driver.wait_for_room, [model.submit("Who?", sampling=SHORT)]

    def wait_once() -> None:
        wait()
        if len(others) < 3:
            others.append(model.submit("Why?", sampling=SHORT))

    monkeypatch.setattr(model.driver, "wait_for_room", wait_once)
    assert model.generate("Where?", sampling=SHORT).ids
    assert list(model.stream("When?", sampling=SHORT))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_answers_by_itself_while_the_parent_was_answering(
    model: OneGenModel,
) -> None:
    expected = model.generate("Who?", sampling=SHORT).ids
    running = model.stream("Why?", sampling=SHORT)
    next(running)
    assert in_child(lambda: model.generate("Who?", sampling=SHORT).ids == expected) == "True"
    lost = in_child(lambda: list(running))
    assert lost.startswith("EngineError: The process was forked while this request was open")
    assert list(running)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_process_with_torch_threads_fails_at_once(model: OneGenModel) -> None:
    def one_thread() -> str:
        torch.set_num_threads(1)
        return model.generate("Why?", sampling=SHORT).finish_reason

    model.generate("Who?", sampling=SHORT)
    torch.set_num_threads(2)
    try:
        for job in (
            lambda: model.generate("Why?", sampling=SHORT),
            lambda: model.embed_queries(["Why?"]),
        ):
            assert in_child(job).startswith("EngineError: This process was forked from one that")
        assert in_child(one_thread) in ("end", "length")
    finally:
        torch.set_num_threads(1)
