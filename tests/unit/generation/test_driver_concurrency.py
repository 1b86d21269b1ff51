"""Any number of threads and tasks on one driver: the events stay the same, and none waits."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onegen_model.events import Event, Query, ScoredPassage
from onegen_model.generation.handle import RequestHandle
from onegen_model.request import State
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    TIMEOUT,
    TWO_HOPS,
    Answering,
    AsyncLibrary,
    Library,
    Stage,
    anonymous,
    collect,
    in_threads,
    reason,
)


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


# Sync, async, together or alone: the same events


@pytest.fixture
def texts() -> list[str]:
    return [f"{'why ' * (i % 5)}{i}?[RQ]so\n{'x' * i}[RQ]{TWO_HOPS[-i % 9 :]}" for i in range(32)]


@pytest.fixture
def alone(renderer: Renderer, texts: list[str]) -> list[list[Event]]:
    """The events of each request of `texts` when it is the only one."""
    stage = Stage(renderer)
    return [
        anonymous(stage.driver.drive(stage.submit(f"q{i}", text, Library())))
        for i, text in enumerate(texts)
    ]


def submit_all(stage: Stage, texts: Sequence[str], retriever: Any) -> list[RequestHandle]:
    return [stage.submit(f"q{i}", text, retriever) for i, text in enumerate(texts)]


def by_request(tickets: Sequence[RequestHandle], events: Sequence[Event]) -> list[list[Event]]:
    return [
        anonymous(event for event in events if event.request_id == ticket.request.id)
        for ticket in tickets
    ]


def test_many_tickets_in_one_thread(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, Library())
    assert by_request(tickets, list(stage.driver.drive(*tickets))) == alone


@pytest.mark.parametrize("make", [Library, AsyncLibrary])
async def test_tasks_see_what_threads_see(stage: Stage, texts: Any, alone: Any, make: Any) -> None:
    tickets = submit_all(stage, texts, make())
    found = await asyncio.wait_for(
        asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets)), TIMEOUT
    )
    assert list(map(anonymous, found)) == alone


async def test_many_tickets_in_one_task(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, AsyncLibrary())
    assert by_request(tickets, await collect(stage.driver, *tickets)) == alone


def test_threads_one_paused_one_closed(stage: Stage, texts: Any, alone: Any) -> None:
    tickets = submit_all(stage, texts, Library())
    found: list[list[Event]] = [[] for _ in tickets]
    paused, closed = 3, 5
    others_are_done = threading.Event()

    def consume(i: int) -> None:
        stream = stage.driver.drive(tickets[i])
        for event in stream:
            found[i].append(event)
            if i == paused and len(found[i]) == 2:
                others_are_done.wait(TIMEOUT)
            if i == closed and len(found[i]) == 2:
                stream.close()

    def resume() -> None:
        in_threads(*(lambda i=i: consume(i) for i in range(32) if i != paused))
        others_are_done.set()

    in_threads(lambda: consume(paused), resume)
    assert len(found[closed]) == 2
    assert tickets[closed].request.state is State.FINISHED
    found[closed] = alone[closed]
    assert list(map(anonymous, found)) == alone


@pytest.mark.parametrize("delay", [0, 0.003])
def test_threads_and_event_loops_on_one_driver(
    renderer: Renderer, texts: Any, alone: Any, delay: float
) -> None:
    stage = Stage(renderer, chunk_size=16)

    class Both(Library):
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            await asyncio.sleep(delay)
            return Library().retrieve(queries)

    tickets = submit_all(stage, texts, Both(delay))
    found: list[list[Event]] = [[] for _ in tickets]

    def in_thread(i: int) -> None:
        found[i] = list(stage.driver.drive(tickets[i]))

    def in_loop(*numbers: int) -> None:
        async def main() -> None:
            tasks = (collect(stage.driver, tickets[i]) for i in numbers)
            for i, events in zip(numbers, await asyncio.gather(*tasks), strict=True):
                found[i] = events

        asyncio.run(main())

    threads = [lambda i=i: in_thread(i) for i in range(12)]
    in_threads(*threads, lambda: in_loop(*range(12, 22)), lambda: in_loop(*range(22, 32)))
    assert list(map(anonymous, found)) == alone


async def test_consumers_in_all_threads_of_the_executor(stage: Stage, texts: Any) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    tickets = submit_all(stage, texts[:6], Library(0.01))
    jobs = [
        asyncio.to_thread(lambda ticket: list(stage.driver.drive(ticket)), ticket)
        if i % 2
        else collect(stage.driver, ticket)
        for i, ticket in enumerate(tickets)
    ]
    found = await asyncio.wait_for(asyncio.gather(*jobs), TIMEOUT)
    assert [reason(events) for events in found] == ["end"] * 6


# Retrieval and stepping


def test_retrievals_that_wait_go_in_one_call(stage: Stage) -> None:
    library, other = Library(), Library()
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", library) for i in range(4)]
    tickets.append(stage.submit("q9", "ab[RQ]c", other))
    list(stage.driver.drive(*tickets))
    assert [len(call) for call in library.calls] == [4]
    assert [len(call) for call in other.calls] == [1]


async def test_retrievals_of_tasks_go_in_one_call(stage: Stage) -> None:
    library = AsyncLibrary()
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", library) for i in range(4)]
    await asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets))
    assert [len(call) for call in library.library.calls] == [4]


def test_a_slow_retriever_stops_no_other_thread(stage: Stage) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        asked.set()
        assert go_on.wait(TIMEOUT)
        return [[] for _ in queries]

    slow = stage.submit("slow", "a[RQ]b", Answering(wait))
    fast = stage.submit("fast", TWO_HOPS, Library())

    def others() -> None:
        assert asked.wait(TIMEOUT)
        assert reason(list(stage.driver.drive(fast))) == "end"
        go_on.set()

    in_threads(lambda: list(stage.driver.drive(slow)), others)


async def test_a_slow_retriever_stops_no_other_task(stage: Stage) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            asked.set()
            await go_on.wait()
            return [[] for _ in queries]

    slow = asyncio.create_task(collect(stage.driver, stage.submit("slow", "a[RQ]b", Slow())))
    await asked.wait()
    assert reason(await collect(stage.driver, stage.submit("fast", TWO_HOPS, Library()))) == "end"
    go_on.set()
    assert reason(await slow) == "end"


async def test_the_event_loop_is_never_blocked(stage: Stage) -> None:
    loop = asyncio.get_running_loop()

    def wait_for_the_loop() -> None:
        # Times out, and fails the request, while the event loop is blocked.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(TIMEOUT)

    def before_step(ids: Sequence[int]) -> int:
        wait_for_the_loop()
        return 0

    class Waiting(Library):
        def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            wait_for_the_loop()
            return super().retrieve(queries)

    stage.before_step = before_step
    library = Waiting()
    tickets = [stage.submit(f"q{i}", "ab[RQ]c", library) for i in range(2)]
    found = await asyncio.gather(*(collect(stage.driver, ticket) for ticket in tickets))
    assert [reason(events) for events in found] == ["end", "end"]
    assert library.calls
