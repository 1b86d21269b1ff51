"""What every `Engine` must do for a driver: a scheduler with lock steps, and one with a thread."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from onegen_model.engine.base import Engine
from onegen_model.engine.scripted import ScriptedEngine
from onegen_model.events import Finished, PassagesInserted, RetrievalRequested
from onegen_model.generation.driver import Driver
from onegen_model.generation.scheduler import Scheduler
from onegen_model.params import SamplingParams
from onegen_model.request import State
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    TIMEOUT,
    TWO_HOPS,
    Answering,
    AsyncLibrary,
    Library,
    Stage,
    collect,
    in_threads,
    of,
    reason,
    spans,
    until_failure,
)
from tests.support.threaded_engine import ThreadedEngine


@pytest.fixture(params=[Scheduler, ThreadedEngine])
def stage(request: pytest.FixtureRequest, renderer: Renderer) -> Stage:
    make: Callable[[ScriptedEngine], Engine] = request.param
    stage = Stage(renderer)
    stage.driver = Driver(make(stage.engine), renderer)
    return stage


def test_a_request_from_question_to_answer(stage: Stage) -> None:
    handle = stage.submit("Where from?", TWO_HOPS, Library())
    events = list(stage.driver.drive(handle))
    assert spans(events) == TWO_HOPS.split("[RQ]")
    assert [one.hop for one in of(events, PassagesInserted)] == [0, 1]
    assert handle.request.usage.forwarded == len(handle.request.ids) - 1
    assert handle.answer().finish_reason == "end"


def test_threads_and_tasks_see_the_same_events(stage: Stage) -> None:
    found: dict[int, Any] = {}

    def in_thread(n: int) -> None:
        found[n] = list(stage.driver.drive(stage.submit(f"t{n}", TWO_HOPS, Library())))

    def in_loop() -> None:
        async def main() -> list[Any]:
            handles = [stage.submit(f"l{n}", TWO_HOPS, AsyncLibrary()) for n in range(4)]
            return await asyncio.gather(*(collect(stage.driver, one) for one in handles))

        found[9] = asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    in_threads(*(lambda n=n: in_thread(n) for n in range(4)), in_loop)
    reported = [found[n] for n in range(4)] + found[9]
    assert [spans(events) for events in reported] == [TWO_HOPS.split("[RQ]")] * 8


def test_a_stop_string_ends_a_request(stage: Stage) -> None:
    events = stage.run("one two three", sampling=SamplingParams(stop=("two",)))
    assert (spans(events), reason(events)) == (["one "], "stop")


def wait_in_the_engine(stage: Stage, written: int) -> threading.Event:
    """An engine with a thread of its own runs ahead of its consumer: at most `written` tokens."""
    go_on = threading.Event()
    prompt = len(stage.renderer.question_ids("q"))

    def wait(ids: Sequence[int]) -> int:
        if len(ids) >= prompt + written:
            assert go_on.wait(TIMEOUT)
        return 0

    stage.before_step = wait
    return go_on


def test_a_closed_stream_cancels_its_request(stage: Stage) -> None:
    handle = stage.submit("q", "a" * 200)
    events = stage.driver.drive(handle)
    next(events)
    events.close()
    assert reason(list(stage.driver.drive(stage.submit("q2", "abc")))) == "end"
    assert handle.request.state is State.FINISHED


def test_a_failure_ends_only_its_request(stage: Stage) -> None:
    def fail(queries: Any) -> Any:
        raise OSError("no connection")

    bad, good = stage.submit("q1", "a[RQ]b", Answering(fail)), stage.submit("q2", "abc")
    events, error = until_failure(stage.driver, bad, good)
    assert "no connection" in str(error)
    reasons = {one.request_id: one.reason for one in of(events, Finished)}
    assert reasons == {bad.request.id: "failed", good.request.id: "end"}


def test_a_late_answer_to_a_cancelled_request_is_ignored(stage: Stage) -> None:
    handle = stage.submit("q", "a[RQ]b", Library())
    events = stage.driver.drive(handle)
    assert any(isinstance(event, RetrievalRequested) for event in events)
    stage.driver.cancel(handle)
    assert reason(stage.run("a[RQ]b", Library())) == "end"


def test_closing_the_driver_ends_open_requests_and_refuses_new_ones(stage: Stage) -> None:
    go_on = wait_in_the_engine(stage, 5)
    handle = stage.submit("q", "a" * 200)
    events = stage.driver.drive(handle)
    next(events)
    stage.driver.close(RuntimeError("unloaded"))
    go_on.set()
    with pytest.raises(RuntimeError, match="unloaded"):
        list(events)
    with pytest.raises(RuntimeError, match="unloaded"):
        stage.submit("q2", "abc")
