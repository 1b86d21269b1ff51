"""The scheduler alone: sinks that raise, forks, interrupts, and the order of its work."""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onegen_model.engine.scripted import ScriptedEngine
from onegen_model.errors import EngineError, InvalidInputError
from onegen_model.events import Event, Finished, RetrievalRequested
from onegen_model.generation import scheduler as module
from onegen_model.generation.driver import Driver
from onegen_model.generation.scheduler import Scheduler
from onegen_model.inputs import ControlIds, Prompt
from onegen_model.request import Request, State
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import TIMEOUT, Library, Stage, of, reason

CONTROL = ControlIds(query=10, end=frozenset({11}))


def request(number: int) -> Request:
    return Request(number, Prompt([1, 2]), CONTROL, max_context=64)


def run(scheduler: Scheduler) -> None:
    while scheduler.run_once(lambda: False):
        pass


def test_a_sink_that_always_raises_ends_its_request_alone() -> None:
    scheduler, events = (
        Scheduler(ScriptedEngine(20, lambda ids: 11 if len(ids) > 5 else 5)),
        list[Event](),
    )

    def refuse(events: Sequence[Event]) -> None:
        raise ValueError("no")

    bad, good = request(0), request(1)
    scheduler.submit(bad, refuse)
    scheduler.submit(good, events.extend)
    run(scheduler)
    assert (bad.state, str(bad.error)) == (State.FINISHED, "no")
    assert reason(events) == "end"


def test_a_fork_between_the_end_of_a_request_and_its_event_leaves_no_consumer_waiting() -> None:
    engine, events = ScriptedEngine(20, lambda ids: 5), list[Event]()
    scheduler, one = Scheduler(engine), request(0)
    scheduler.submit(one, events.extend)
    scheduler.run_once(lambda: False)
    engine.finish(0, "cancelled")
    scheduler.abandon(EngineError("forked"))
    assert (reason(events), str(one.error)) == ("failed", "forked")


def test_cancelling_a_request_does_not_admit_others_on_the_callers_thread() -> None:
    engine = ScriptedEngine(20, lambda ids: 5, max_requests=1)
    scheduler = Scheduler(engine)
    for number in range(2):
        scheduler.submit(request(number), lambda events: None)
    scheduler.run_once(lambda: False)
    assert not engine.has_room
    scheduler.finish(0, "cancelled")
    scheduler.run_once(lambda: True)
    assert engine.has_room
    assert scheduler.has_work


def test_a_queue_for_nobody_is_refused(renderer: Renderer) -> None:
    with pytest.raises(InvalidInputError, match="max_queue=0; expected at least 1"):
        Driver(ScriptedEngine(20), renderer, max_queue=0)


def test_a_request_that_ends_inside_an_insertion_frees_its_slot(renderer: Renderer) -> None:
    stage = Stage(renderer, max_requests=1)
    first = stage.submit("q1", "a[RQ]b", Library())
    second = stage.submit("q2", "abc")
    events = stage.driver.drive(first)
    assert any(isinstance(event, RetrievalRequested) for event in events)
    first.request.force([renderer.end_id])
    assert reason([*events]) == "end"
    assert stage.engine.has_room
    assert reason(list(stage.driver.drive(second))) == "end"


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line that the scheduler runs."""

    def __init__(self, at: int) -> None:
        self.left = at
        source = Path(module.__file__).read_text()
        self.with_lines = {
            number
            for number, line in enumerate(source.splitlines(), start=1)
            if line.strip().startswith("with ")  # Python never interrupts there on its way out.
        }

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return self.trace if frame.f_code.co_filename == module.__file__ else None

    def trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "line" and frame.f_lineno not in self.with_lines:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return self.trace


def test_an_interrupt_at_any_line_leaves_nobody_waiting(renderer: Renderer) -> None:
    before, at, interrupt = sys.gettrace(), 0, Interrupt(0)
    while interrupt.left <= 0:
        at += 3
        stage, library, interrupt = Stage(renderer, max_requests=2), Library(), Interrupt(at)
        handles = [stage.submit(f"q{n}", "a[RQ]b", library) for n in range(3)]
        try:
            sys.settrace(interrupt)
            list(stage.driver.drive(handles[0]))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        require_answers(stage, handles)


def require_answers(stage: Stage, handles: Sequence[Any]) -> None:
    ends: list[int] = []

    def drive() -> None:
        for handle in handles[1:]:
            try:
                events = list(stage.driver.drive(handle))
            except EngineError:
                events = handle.stream.events
            ends.append(len(of(events, Finished)))
        ends.append(reason(stage.run("abc")) == "end")

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert ends == [1, 1, True]
    assert stage.engine.is_idle
