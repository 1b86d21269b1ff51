"""What happens in between: a collection of garbage, a close, another consumer, a full executor."""

import asyncio
import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onegen_model.events import Event, Query, ScoredPassage
from onegen_model.generation.answer_stream import AnswerStream
from onegen_model.generation.delivery import Delivery
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle
from onegen_model.generation.retrievals import Retrievals
from onegen_model.generation.scheduler import Scheduler
from onegen_model.request import Request, State
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import (
    TIMEOUT,
    Answering,
    AsyncLibrary,
    Library,
    Stage,
    collect,
    in_threads,
    reason,
)


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


class Collecting(Scheduler):
    """Garbage is collected right behind the moment at which there was nothing to do."""

    @property
    def has_work(self) -> bool:
        has_work = super().has_work
        if not has_work:
            gc.collect()
        return has_work


def test_a_slot_freed_by_the_garbage_collector_wakes_the_thread_that_collects(
    renderer: Renderer,
) -> None:
    stage = Stage(renderer, max_requests=1)
    stage.driver = Driver(Collecting(stage.engine), renderer)
    gc.disable()
    try:
        cycle: list[Any] = [stage.submit("q1", "a[RQ]b", AsyncLibrary())]
        cycle.append(cycle)
        waiting, found = stage.submit("q2", "abc"), list[Event]()
        del cycle
        in_threads(lambda: found.extend(stage.driver.drive(waiting)))
    finally:
        gc.enable()
    assert reason(found) == "end"


async def test_tasks_finish_while_threads_of_their_executor_wait_for_their_slots(
    renderer: Renderer,
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    stage = Stage(renderer, max_requests=2)
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow(AsyncLibrary):
        async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            asked.set()
            await go_on.wait()
            return await super().aretrieve(queries)

    slow = Slow()
    tasks = [
        asyncio.create_task(collect(stage.driver, stage.submit(f"t{n}", "a[RQ]b", slow)))
        for n in range(2)
    ]
    await asked.wait()
    both_wait = threading.Barrier(3)

    def drive(handle: RequestHandle) -> list[Event]:
        both_wait.wait(TIMEOUT)
        return list(stage.driver.drive(handle))

    handles = [stage.submit(f"q{n}", "abc") for n in range(2)]
    threads = [asyncio.create_task(asyncio.to_thread(drive, handle)) for handle in handles]
    while both_wait.n_waiting < 2:
        await asyncio.sleep(0.001)
    both_wait.wait(TIMEOUT)
    go_on.set()
    found = await asyncio.wait_for(asyncio.gather(*tasks, *threads), TIMEOUT)
    assert [reason(events) for events in found] == ["end"] * 4


def test_a_request_submitted_while_the_driver_is_closed_ends(stage: Stage) -> None:
    submitted: list[Request] = []

    class ClosedMeanwhile(Scheduler):
        def submit(self, request: Request, sink: Any) -> None:
            submitted.append(request)
            stage.driver.close(RuntimeError("unloaded"))
            super().submit(request, sink)

    stage.driver = Driver(ClosedMeanwhile(stage.engine), stage.renderer)
    with pytest.raises(RuntimeError, match="unloaded"):
        stage.submit("q", "abc")
    assert submitted[0].state is State.FINISHED


def test_a_query_answered_by_another_consumer_is_not_asked_alone_again(stage: Stage) -> None:
    given: list[str] = []

    class Told(Delivery):
        def insert(self, stream: Any, query: Query, *found: Any) -> None:
            given.append(stream.request.prompt.question)

        def put_back(self, batch: Any) -> None:
            pass

    def fail_together(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if len(queries) == 2:
            streams[0].query = None
            raise OSError("one of them is bad")
        return [[] for _ in queries]

    retriever = Answering(fail_together)
    handles = [stage.submit(f"q{n}", "abc", retriever) for n in range(2)]
    streams = [handle.stream for handle in handles]
    for number, stream in enumerate(streams):
        stream.query = Query(embedding=stage.engine.embed([1]), text=f"q{number}", top_k=1)
    Retrievals(Told(Scheduler(stage.engine)), stage.renderer).make(streams)
    assert [len(call) for call in retriever.calls] == [2, 1]
    assert given == ["q1"]


def test_a_stream_can_be_closed_while_another_thread_is_in_it(stage: Stage) -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait(ids: Sequence[int]) -> int:
        started.set()
        assert go_on.wait(TIMEOUT)
        return 0

    stage.before_step = wait
    stream, found = AnswerStream(stage.driver, stage.submit("q", "abc")), list[Event]()

    def close() -> None:
        assert started.wait(TIMEOUT)
        try:
            stream.close()
        finally:
            go_on.set()

    in_threads(lambda: found.extend(stream), close)
    assert reason(found) == "cancelled"


def test_a_slow_retriever_of_many_tasks_stops_no_other_task(stage: Stage) -> None:
    go_on = threading.Event()

    class Slow(Library):
        def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
            assert go_on.wait(TIMEOUT)
            return super().retrieve(queries)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        slow = [
            asyncio.create_task(collect(stage.driver, stage.submit(f"s{n}", "a[RQ]b", Slow())))
            for n in range(4)
        ]
        fast = collect(stage.driver, stage.submit("fast", "ab c d e"))
        assert reason(await asyncio.wait_for(fast, TIMEOUT / 2)) == "end"
        fast = collect(stage.driver, stage.submit("faster", "ab c d e"))
        try:
            assert reason(await asyncio.wait_for(fast, TIMEOUT / 2)) == "end"
        finally:
            go_on.set()
        assert [reason(events) for events in await asyncio.gather(*slow)] == ["end"] * 4

    asyncio.run(main())
