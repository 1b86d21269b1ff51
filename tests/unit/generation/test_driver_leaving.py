"""Consumers that leave: their requests end, and those of others continue."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from onegen_model.errors import RetrievalError
from onegen_model.events import Event, Finished, Query, ScoredPassage
from onegen_model.request import State
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import TIMEOUT, Stage, collect, hit, in_threads, reason


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


def test_a_closed_generator_cancels_its_request(stage: Stage) -> None:
    ticket = stage.submit("q", "abc")
    stream = stage.driver.drive(ticket)
    next(stream)
    stream.close()
    assert ticket.request.state is State.FINISHED
    assert ticket.request.usage.forwarded == ticket.request.num_read
    assert stage.engine.is_idle


def test_a_forgotten_generator_cancels_its_request(stage: Stage) -> None:
    stream = stage.driver.drive(stage.submit("q", "abc"))
    next(stream)
    loop: list[Any] = [stream]
    loop.append(loop)
    del stream, loop
    gc.collect()
    assert stage.engine.is_idle


def test_a_forgotten_ticket_cancels_its_request(stage: Stage) -> None:
    ticket = stage.submit("q", "abc")
    request = ticket.request
    del ticket
    assert request.state is State.FINISHED
    stream = stage.driver.drive(stage.submit("q", "abc"))
    del stream
    assert stage.engine.is_idle


def test_a_driven_ticket_need_not_be_kept(stage: Stage) -> None:
    stream = stage.driver.drive(stage.submit("q", "abc"))
    gc.collect()
    assert reason(list(stream)) == "end"


def test_cancel_from_another_thread(stage: Stage) -> None:
    started = threading.Event()

    def wait(ids: Sequence[int]) -> int:
        started.set()
        time.sleep(0.001)
        return 0

    stage.before_step = wait
    ticket = stage.submit("q", "long " * 200)
    found: list[Event] = []

    def cancel() -> None:
        assert started.wait(TIMEOUT)
        stage.driver.cancel(ticket)

    in_threads(lambda: found.extend(stage.driver.drive(ticket)), cancel)
    assert reason(found) == "cancelled"


@pytest.mark.parametrize("retrieves", [True, False])
async def test_a_cancelled_task_cancels_its_request_alone(stage: Stage, retrieves: bool) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            calls.append(len(queries))
            asked.set()
            await go_on.wait()
            return [[] for _ in queries]

    text = "a[RQ]b" if retrieves else "a" * 300
    slow = Slow()
    tickets = [stage.submit(f"q{i}", text, slow) for i in range(3)]
    tasks = [asyncio.create_task(collect(stage.driver, ticket)) for ticket in tickets]
    await (asked.wait() if retrieves else asyncio.sleep(0.01))
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    go_on.set()
    for task in tasks[1:]:
        assert reason(await asyncio.wait_for(task, TIMEOUT)) in ("end", "length")
    assert tickets[0].request.state is State.FINISHED
    assert calls == [3] * retrieves


async def test_a_retrieval_without_a_consumer_is_cancelled(stage: Stage) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            asked.set()
            try:
                await asyncio.sleep(TIMEOUT)
            finally:
                cancelled.set()
            return []

    task = asyncio.create_task(collect(stage.driver, stage.submit("q", "a[RQ]b", Slow())))
    await asked.wait()
    task.cancel()
    await asyncio.wait_for(cancelled.wait(), TIMEOUT)


async def test_a_retriever_that_cancels_itself_fails(stage: Stage) -> None:
    class Odd:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            raise asyncio.CancelledError

    with pytest.raises(RetrievalError, match="Odd raised CancelledError"):
        await asyncio.wait_for(collect(stage.driver, stage.submit("q", "a[RQ]b", Odd())), TIMEOUT)


async def test_a_task_keeps_no_retrieval_that_is_over(stage: Stage) -> None:
    made: list[weakref.ref[Any]] = []

    class Remembering:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            made.append(weakref.ref(asyncio.current_task()))
            return [[hit(f"p{len(made)}")] for _ in queries]

    ticket = stage.submit("q", "a[RQ]b[RQ]c[RQ]d[RQ]efgh", Remembering())
    events = stage.driver.adrive(ticket)
    async for event in events:
        if isinstance(event, Finished):
            break
    gc.collect()
    assert len(made) == 4
    assert sum(task() is not None for task in made) <= 1, "the latest"
    await events.aclose()


def test_a_loop_that_ends_leaves_its_retrievals_to_others(stage: Stage) -> None:
    calls = []

    class HangsOnce:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            calls.append(len(queries))
            await asyncio.sleep(TIMEOUT if len(calls) == 1 else 0)
            return [[] for _ in queries]

    retriever = HangsOnce()
    first, second = (stage.submit(f"q{i}", "a[RQ]b", retriever) for i in range(2))
    rest = stage.driver.adrive(second)

    async def leave() -> None:
        task = asyncio.create_task(collect(stage.driver, first))
        while not calls:
            await asyncio.sleep(0.001)
        assert not task.done()

    async def stay() -> list[Event]:
        return [event async for event in rest]

    asyncio.run(leave())
    assert reason(asyncio.run(asyncio.wait_for(stay(), TIMEOUT))) == "end"
    assert first.request.state is State.FINISHED
    assert calls == [2, 1]
