"""Interrupts and broken engines: which requests fail and which do not."""

from collections.abc import Sequence
from typing import Any

import pytest

from onegen_model.events import Event, Finished, Query, ScoredPassage
from onegen_model.request import State
from onegen_model.transcript.detokenizer import TextStream
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    TWO_HOPS,
    Answering,
    Library,
    Stage,
    anonymous,
    auntil_failure,
    collect,
    hit,
    of,
    reason,
    spans,
    until_failure,
)


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


def test_an_interrupted_retrieval_is_made_by_others(stage: Stage) -> None:
    def interrupt(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if len(queries) == 2:
            raise KeyboardInterrupt
        return [[hit("a")] for _ in queries]

    retriever = Answering(interrupt)
    one = stage.submit("q1", "a[RQ]b", retriever)
    two = stage.submit("q2", "a[RQ]b", retriever)
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert one.request.state is State.FINISHED
    assert reason(list(stage.driver.drive(two))) == "end"
    assert [len(call) for call in retriever.calls] == [2, 1]


def test_an_interrupted_step_costs_the_others_nothing(stage: Stage) -> None:
    def interrupt(ids: Sequence[int]) -> int:
        stage.num_steps += 1
        if stage.num_steps == 6:
            raise KeyboardInterrupt
        return 0

    expected = anonymous(stage.run(TWO_HOPS, Library()))
    stage.before_step = interrupt
    one = stage.submit("q1", TWO_HOPS, Library())
    two = stage.submit("q2", TWO_HOPS, Library())
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert one.request.state is State.FINISHED
    events = anonymous(stage.driver.drive(two))
    assert spans(events) == spans(expected)
    assert reason(events) == "end"


def test_an_interrupted_admission_leaves_the_engine_free(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    one, two = stage.submit("q1", "a"), stage.submit("q2", "a")
    with monkeypatch.context() as patch:
        patch.setattr(stage.engine, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(stage.driver.drive(two))
    assert [event.reason for event in of(one.stream.events, Finished)] == ["failed"]
    assert reason(stage.run("a")) == "end"


def test_only_requests_with_a_lost_event_end_after_an_interrupt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = stage.engine.step

    def lose() -> list[Event]:
        nothing_of_two_to_lose = two.request.state is State.AWAITING_PASSAGES
        events = step()
        if nothing_of_two_to_lose:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return events

    monkeypatch.setattr(stage.engine, "step", lose)
    one = stage.submit("q1", "abcdef", Library())
    two = stage.submit("q2", "a[RQ]b", Library())
    with pytest.raises(KeyboardInterrupt):
        list(stage.driver.drive(one))
    assert [event.reason for event in of(one.stream.events, Finished)] == ["failed"]
    assert reason(list(stage.driver.drive(two))) == "end"


def test_an_event_that_arrives_after_an_interrupt_ended_its_request_is_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, late = stage.engine.step, list[Event]()

    def interrupted() -> list[Event]:
        late.extend(step())
        monkeypatch.setattr(stage.engine, "step", lambda: [*late, *step()])
        raise KeyboardInterrupt

    monkeypatch.setattr(stage.engine, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.run("abc")
    assert late
    assert reason(stage.run("abc")) == "end"


@pytest.mark.parametrize("use", ["sync", "async"])
async def test_a_row_that_cannot_be_computed_ends_alone(stage: Stage, use: str) -> None:
    def fail(ids: Sequence[int]) -> int:
        stage.num_steps += 1
        if stage.num_steps == 6:
            raise MemoryError("full")
        return 0

    stage.before_step = fail
    one, two = (stage.submit(f"q{i}", TWO_HOPS, Library()) for i in range(2))
    found = await auntil_failure(stage.driver, one, two) if use == "async" else None
    events, error = found or until_failure(stage.driver, one, two)
    assert isinstance(error, MemoryError)
    assert [one.error, two.error] == [None, error]
    reasons = {event.request_id: event.reason for event in of(events, Finished)}
    assert reasons == {one.request.id: "end", two.request.id: "failed"}


@pytest.mark.parametrize("use", ["sync", "async"])
async def test_a_step_that_raises_fails_all_current_requests_and_no_later_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    def fail() -> list[Event]:
        monkeypatch.undo()
        raise MemoryError("full")

    monkeypatch.setattr(stage.engine, "step", fail)
    handles = [stage.submit(f"q{i}", TWO_HOPS, Library()) for i in range(2)]
    for handle in handles:
        if use == "sync":
            events, error = until_failure(stage.driver, handle)
            assert reason(events) == "failed"
            assert isinstance(error, MemoryError)
        else:
            with pytest.raises(MemoryError):
                await collect(stage.driver, handle)
    assert reason(stage.run(TWO_HOPS, Library())) == "end"


def test_an_engine_that_breaks_for_good(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("broken")

    ticket = stage.submit("q", "abc")
    stream = stage.driver.drive(ticket)
    next(stream)
    for name in ("step", "finish", "add"):
        monkeypatch.setattr(stage.engine, name, broken)
    events = []
    with pytest.raises(RuntimeError, match="broken"):
        events += list(stream)
    events, error = until_failure(stage.driver, stage.submit("q", "abc"))
    assert (reason(events), str(error)) == ("failed", "broken")


def test_an_insert_that_raises_fails_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise MemoryError("full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.engine, "insert", full)
        events, error = until_failure(stage.driver, stage.submit("q", "a[RQ]b", Library()))
    assert (reason(events), type(error)) == ("failed", MemoryError)
    assert reason(stage.run("a[RQ]b", Library())) == "end"


def test_text_that_cannot_be_decoded_fails_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stage.submit("q1", "abc"), stage.submit("q2", "abc")

    push = TextStream.push

    def fail(self: TextStream, token_id: int) -> str:
        if not tried:
            tried.append(token_id)
            raise ValueError("no text")
        return push(self, token_id)

    tried: list[int] = []

    monkeypatch.setattr(TextStream, "push", fail)
    events, error = until_failure(stage.driver, one)
    assert (events[-1:], str(error)) == ([of(events, Finished)[0]], "no text")
    assert reason(list(stage.driver.drive(two))) == "end"
