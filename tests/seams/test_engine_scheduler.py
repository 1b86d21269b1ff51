"""Engine and scheduler: slots, the queue in front of them, and failures that stay alone."""

import asyncio
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model import OneGenModel, Passage, Query, ScoredPassage
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.engine import forward
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import InvalidInputError, QueueFullError
from onegen_model.events import Finished, RetrievalRequested
from onegen_model.generation.driver import Driver
from onegen_model.network import read
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import State
from onegen_model.transcript.renderer import Renderer
from tests.conftest import make_tokenizer
from tests.support.drivers import AsyncLibrary, Library, Stage, collect, of, reason

SHORT = SamplingParams(max_new_tokens=12)


@pytest.fixture
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    checkpoint = Checkpoint(tiny_network, make_tokenizer(), config, "tiny")
    return OneGenModel(checkpoint, engine=TransformersEngine(tiny_network, max_requests=4))


class Mill:
    def retrieve(self, queries: list[Query]) -> list[list[ScoredPassage]]:
        return [[ScoredPassage(Passage("mill", "The mill stands by the river."), 1.0)]] * len(
            queries
        )


def test_an_id_outside_the_vocabulary_fails_its_request_alone(model: OneGenModel) -> None:
    running = model.stream("Who?", sampling=SHORT)
    next(running)
    answer = model.generate("Why?", sampling=SHORT)
    forged = type(answer)(
        **{
            **{name: getattr(answer, name) for name in answer.__slots__},
            "ids": (*answer.ids, 99_999),
        }
    )
    with pytest.raises(InvalidInputError, match="Token id 99999 at position"):
        model.generate("And then?", history=forged, sampling=SHORT)
    assert isinstance(list(running)[-1], Finished)


def test_one_transient_out_of_memory_costs_no_request(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ["Who?", "Why is it?", "Where does the river end?"]
    expected = model.generate(questions, sampling=SHORT)
    calls = iter(range(1000))

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if next(calls) in (1, 4):
            raise torch.OutOfMemoryError("full")
        return read(*args, **kwargs)

    monkeypatch.setattr(forward, "read", sometimes)
    answers = model.generate([f"{question} " for question in questions], sampling=SHORT)
    assert {answer.finish_reason for answer in answers} <= {"end", "length"}
    again = model.generate(questions, sampling=SHORT)
    assert [answer.ids for answer in again] == [answer.ids for answer in expected]


def test_requests_that_await_passages_keep_their_slots_and_count(model: OneGenModel) -> None:
    streams = [model.stream(f"Who is {n}?", retriever=Mill(), retrieval="always") for n in range(6)]
    for stream in streams[:4]:
        while not isinstance(next(stream), RetrievalRequested):
            pass
    states = [stream.handle.request.state for stream in streams]
    assert states[:4] == [State.AWAITING_PASSAGES] * 4
    assert not model.engine.has_room
    assert [stream.handle.request.num_read for stream in streams[4:]] == [0, 0]
    for stream in streams:
        stream.close()


def test_requests_without_a_driver_do_not_block_the_queue(
    renderer: Renderer,
) -> None:
    stage = Stage(renderer, max_requests=2)
    library = Library()
    left_alone = [stage.submit(f"q{n}", "a[RQ]b", library) for n in range(2)]
    assert reason(list(stage.driver.drive(stage.submit("q9", "abc")))) == "end"
    assert [handle.request.state for handle in left_alone] == [State.FINISHED] * 2


async def test_tasks_retrieve_for_requests_without_a_driver(renderer: Renderer) -> None:
    stage = Stage(renderer, max_requests=2)
    left_alone = [stage.submit(f"q{n}", "a[RQ]b", AsyncLibrary()) for n in range(2)]
    assert reason(await collect(stage.driver, stage.submit("q9", "abc"))) == "end"
    assert [handle.request.state for handle in left_alone] == [State.FINISHED] * 2


def test_a_full_queue_is_refused_and_room_can_be_waited_for(renderer: Renderer) -> None:
    stage = Stage(renderer, max_requests=1)
    stage.driver = Driver(stage.engine, renderer, max_queue=2)
    handles = [stage.submit(f"q{n}", "abc") for n in range(2)]
    with pytest.raises(QueueFullError, match="2 requests wait for a slot; expected fewer than 2"):
        stage.submit("q2", "abc")
    stage.driver.wait_for_room()
    handles.append(stage.submit("q3", "abc"))
    events = list(stage.driver.drive(*handles))
    assert [one.reason for one in of(events, Finished)] == ["end"] * 3


def test_a_driver_counts_who_runs_and_who_waits(model: OneGenModel) -> None:
    streams = [model.stream(f"Who is {n}?", sampling=SHORT) for n in range(6)]
    driver = model.driver
    assert (driver.num_running, driver.num_waiting) == (0, 6)
    next(streams[0])
    assert (driver.num_running, driver.num_waiting) == (4, 2)
    assert model.engine.cache_usage > 0
    assert [stream.handle.queue_seconds is None for stream in streams] == [False] * 4 + [True] * 2
    for stream in streams:
        stream.close()
    assert (driver.num_running, driver.num_waiting, model.engine.cache_usage) == (0, 0, 0)


async def test_tasks_wait_for_room_without_blocking_the_loop(renderer: Renderer) -> None:
    stage = Stage(renderer, max_requests=1)
    stage.driver = Driver(stage.engine, renderer, max_queue=1)
    library = AsyncLibrary()
    first = stage.submit("q0", "a[RQ]b", library)
    await asyncio.wait_for(stage.driver.await_room(), 20)
    second = stage.submit("q1", "abc")
    found = await asyncio.gather(collect(stage.driver, first), collect(stage.driver, second))
    assert [reason(events) for events in found] == ["end", "end"]


def test_a_batch_longer_than_the_queue_is_one_call(tiny_network: PreTrainedModel) -> None:
    checkpoint = Checkpoint(tiny_network, make_tokenizer(), CheckpointConfig(), "tiny")
    engine = TransformersEngine(tiny_network, max_requests=2)
    model = OneGenModel(checkpoint, engine=engine, max_queue=3)
    questions = [f"Who is number {n}?" for n in range(9)]
    expected = [model.generate(question, sampling=SHORT).ids for question in questions]
    answers = model.generate(questions, sampling=SHORT)
    assert [answer.ids for answer in answers] == expected

    async def ask() -> list[Any]:
        return await model.agenerate(questions, sampling=SHORT)

    assert [answer.ids for answer in asyncio.run(ask())] == expected


def test_retrievals_of_one_step_are_one_search(model: OneGenModel) -> None:
    calls: list[int] = []

    class Counting(Mill):
        def retrieve(self, queries: list[Query]) -> list[list[ScoredPassage]]:
            calls.append(len(queries))
            return super().retrieve(queries)

    retrieval = RetrievalParams(mode="always", max_retrievals=1)
    questions = [f"Who is {n}?" for n in range(4)]
    model.generate(questions, retriever=Counting(), retrieval=retrieval, sampling=SHORT)
    assert calls == [4]
