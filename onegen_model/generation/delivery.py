"""Brings events to the consumers of an engine, in threads and in event loops.

A consumer that finds no event calls the engine's `run_once`, which works for all requests, or
sleeps while another one does. `_lock` guards the streams and is held for moments only, so that an
event loop may take it too.

The garbage collector may cancel a request, and so wake consumers, at any point of any method: the
lock is reentrant, and a consumer joins the sleepers before it looks for an event, not after it.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from onegen_model.engine.base import Engine
from onegen_model.events import Event, FinishReason, Query
from onegen_model.generation.stream import Consumer, EventStream
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.retrieval.protocol import Retriever

# Streams whose queries go to their one retriever in one call.
Batch = list[EventStream]

# What a consumer sleeps on: a thread, or a task. Waking it before it sleeps is not lost.
_Sleeper: TypeAlias = "SimpleQueue[None] | Future[None]"


class Delivery:
    """All methods may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._own = threading.local()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._awaiting: Batch = []
        self._sleepers: set[_Sleeper] = set()
        self._stepping: set[AbstractEventLoop] = set()
        # Not the executor of a loop: consumers that wait in its threads may hold all of them.
        self._executor = ThreadPoolExecutor(1, "onegen-step")

    # From producers.

    def take(self, stream: EventStream, events: Sequence[Event]) -> None:
        """The sink of `stream`."""
        stream.take(events)
        if stream.has_stopped:
            self._engine.finish(stream.request.id, "stop")
        with self._lock:
            self._awaiting = [item for item in self._awaiting if item.awaits_answer]
            if stream.awaits_answer and stream not in self._awaiting:
                self._awaiting.append(stream)
            if not getattr(self._own, "is_running", False):  # `_run` announces once for all.
                self._announce()

    def insert(
        self,
        stream: EventStream,
        query: Query,
        candidates: Sequence[Candidate],
        empty: EmptySearch | None = None,
    ) -> None:
        """Answer `query` of a request."""
        tell = partial(self._engine.insert, stream.request.id, candidates, empty)
        self._answer(stream, query, tell)

    def fail(self, stream: EventStream, query: Query, error: Exception) -> None:
        """End the request because `query` has no answer."""
        end = partial(self._engine.finish, stream.request.id, "failed", error)
        self._answer(stream, query, end)

    def put_back(self, batch: Batch) -> None:
        """Offer those retrievals of `batch` that have no answer to all consumers again."""
        with self._lock:
            left = [stream for stream in batch if stream.awaits_answer]
            if left:
                self._awaiting += left
                self._announce()

    def end(
        self,
        streams: Iterable[EventStream],
        reason: FinishReason = "cancelled",
        error: Exception | None = None,
    ) -> None:
        """End what has not finished, at once if no thread is working on the engine."""
        unfinished = [stream for stream in streams if not stream.has_finished]
        for stream in unfinished:
            stream.is_wanted = False
            self._engine.finish(stream.request.id, reason, error)
        if unfinished:
            self._run(lambda: True)

    def abandon(self) -> None:
        """In a forked child: forget the locks and the waiting consumers of the parent."""
        self._begin()

    # For consumers.

    def wait(
        self, streams: Sequence[EventStream], until: Callable[[], bool] = lambda: False
    ) -> Event | Batch | None:
        """The next event of `streams`, or retrievals that the caller now has to make.

        None when `until` holds before there is either.
        """
        while True:
            woken: SimpleQueue[None] = SimpleQueue()
            with self._lock:
                self._sleepers.add(woken)
                found = self._look(streams, "thread")
                if found or until():
                    self._sleepers.discard(woken)
                    return found
            if self._engine.has_work:
                self._run(lambda: any(stream.has_event for stream in streams) or until())
            else:
                woken.get()

    async def await_(
        self, streams: Sequence[EventStream], until: Callable[[], bool] = lambda: False
    ) -> Event | Batch | None:
        """Like `wait`; neither blocks the event loop nor holds a thread of its executor."""
        loop = asyncio.get_running_loop()
        while True:
            woken = loop.create_future()
            with self._lock:
                self._sleepers.add(woken)
                found = self._look(streams, "task")
                if found or until():
                    self._sleepers.discard(woken)
                    return found
                self._queue_step(loop)
            await woken

    def _look(self, streams: Sequence[EventStream], consumer: Consumer) -> Event | Batch | None:
        for stream in streams:
            if stream.has_event:
                return stream.next_event()
        waiting = [stream for stream in self._awaiting if stream.awaits_answer]
        first = next((stream for stream in waiting if stream in streams), None)
        if first is None and self._engine.is_starved:
            # Requests that nobody drives hold slots that others wait for: their queries are
            # answered by whoever waits.
            first = next((stream for stream in waiting if _can_ask(consumer, stream)), None)
        if first is None:
            return None
        batch = [
            stream
            for stream in waiting
            # A thread must not depend on a task, whose event loop it may be blocking.
            if stream.retriever is first.retriever
            and (stream is first or consumer in ("thread", stream.consumer))
        ]
        self._awaiting = [stream for stream in waiting if stream not in batch]
        return batch

    def _answer(self, stream: EventStream, query: Query, tell: Callable[[], None]) -> None:
        with self._lock:
            if stream.query is not query:  # One that was put back may be answered twice.
                return
            stream.query = None
        try:
            tell()
        except BaseException:
            stream.query = query
            raise
        self._wake_consumers()

    def _run(self, is_served: Callable[[], bool]) -> None:
        was_running, self._own.is_running = getattr(self._own, "is_running", False), True
        try:
            self._engine.run_once(is_served)
        finally:
            self._own.is_running = was_running
            self._wake_consumers()

    def _wake_consumers(self) -> None:
        with self._lock:
            self._announce()

    def _queue_step(self, loop: AbstractEventLoop) -> None:
        if self._engine.has_work and loop not in self._stepping:
            # Claims the engine when it runs, not now: until then threads may step.
            loop.run_in_executor(self._executor, self._step_for, loop)
            self._stepping.add(loop)

    def _step_for(self, loop: AbstractEventLoop) -> None:
        with self._lock:
            self._stepping.discard(loop)
        self._run(lambda: False)

    def _announce(self) -> None:
        sleepers, self._sleepers = self._sleepers, set()
        loops: dict[AbstractEventLoop, list[Future[None]]] = {}
        for sleeper in sleepers:
            if isinstance(sleeper, SimpleQueue):
                sleeper.put(None)
            else:
                loops.setdefault(sleeper.get_loop(), []).append(sleeper)
        for loop, futures in loops.items():
            with suppress(RuntimeError):  # The loop is closed, and its consumers are gone.
                loop.call_soon_threadsafe(_wake, futures)


def _can_ask(consumer: Consumer, stream: EventStream) -> bool:
    return consumer == "task" or isinstance(stream.retriever, Retriever)


def _wake(futures: Iterable["Future[None]"]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
