"""One engine, any number of threads and tasks that need events of it.

There is no thread of its own: whoever needs an event and finds none runs one engine step for all.
The engine belongs to whoever has set `_is_busy`; everybody else leaves what they want done to it
in `_inbox`. All other state is guarded by `_changed`, which is held for moments only, so that an
event loop may take it too.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from onegen_model.engine.base import Engine
from onegen_model.errors import OneGenError
from onegen_model.events import Event, Finished, FinishReason, Query
from onegen_model.generation.stream import EventStream
from onegen_model.request import Candidate, State

# Streams whose queries go to their one retriever in one call.
Batch = list[EventStream]


class Scheduler:
    """All methods may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Reentrant, because the garbage collector may close a generator of ours anywhere.
        self._changed = threading.Condition(threading.RLock())
        self._inbox: deque[tuple[EventStream, Callable[[], None]]] = deque()
        self._is_busy = False
        self._is_idle = True
        self._streams: dict[int, EventStream] = {}
        self._awaiting: Batch = []
        self._fresh: deque[Event] = deque()
        self._sleepers: dict[AbstractEventLoop, list[Future[None]]] = {}
        self._stepping: set[AbstractEventLoop] = set()

    # What callers want done. The next one who works on the engine does it.

    def admit(self, stream: EventStream) -> None:
        """Start a request; it moves as soon as anybody waits for an event."""
        self._inbox.append((stream, partial(self._add, stream)))

    def cancel(self, streams: Iterable[EventStream]) -> None:
        """End what has not finished, at once if nobody is working on the engine."""
        unfinished = [stream for stream in streams if not stream.has_finished]
        for stream in unfinished:
            stream.is_wanted = False
            self._inbox.append((stream, partial(self._end, stream, "cancelled")))
        if unfinished:
            with self._changed:
                claimed = self._claim()
            if claimed:
                self._work()

    def insert(self, stream: EventStream, query: Query, candidates: Sequence[Candidate]) -> None:
        """Answer `query` of a request."""
        self._answer(stream, query, partial(self._insert, stream, candidates))

    def fail(self, stream: EventStream, query: Query, error: Exception) -> None:
        """End the request because `query` has no answer."""
        self._answer(stream, query, partial(self._end, stream, "failed", error))

    def _answer(self, stream: EventStream, query: Query, action: Callable[[], None]) -> None:
        with self._changed:
            # A retrieval that was put back may be answered twice.
            if stream.query is query:
                stream.query = None
                self._inbox.append((stream, action))
                self._announce()

    def put_back(self, batch: Batch) -> None:
        """Let somebody else make those retrievals of `batch` that have no answer."""
        with self._changed:
            left = [stream for stream in batch if stream.awaits_answer]
            if left:
                self._awaiting += left
                self._announce()

    # What callers wait for.

    def wait(self, streams: Sequence[EventStream]) -> Event | Batch:
        """The next event of `streams`, or retrievals that the caller now has to make."""
        while True:
            with self._changed:
                while not (found := self._look(streams)) and not self._claim():
                    self._changed.wait()
            if found:
                return found
            self._work(streams)

    async def await_(self, streams: Sequence[EventStream]) -> Event | Batch:
        """Like `wait`; neither blocks the event loop nor holds a thread of its executor."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                found = self._look(streams)
                if found:
                    return found
                self._queue_step(loop)
                woken = loop.create_future()
                self._sleepers.setdefault(loop, []).append(woken)
            await woken

    def _look(self, streams: Sequence[EventStream]) -> Event | Batch | None:
        for stream in streams:
            if stream.events:
                return stream.events.popleft()
        waiting = [stream for stream in self._awaiting if stream.awaits_answer]
        own = next((stream for stream in waiting if stream in streams), None)
        if own is None:
            return None
        batch = [
            stream
            for stream in waiting
            # A task needs a thread of the executor to answer, and consumers in threads may hold
            # all of them: they must not depend on it.
            if stream.retriever is own.retriever and own.consumer in ("thread", stream.consumer)
        ]
        self._awaiting = [stream for stream in waiting if stream not in batch]
        return batch

    def _queue_step(self, loop: AbstractEventLoop) -> None:
        if self._has_work and not self._is_busy and loop not in self._stepping:
            # Claims the engine when it runs, not now: until then threads may step.
            loop.run_in_executor(None, self._step_if_free, loop)
            self._stepping.add(loop)

    def _step_if_free(self, loop: AbstractEventLoop) -> None:
        with self._changed:
            self._stepping.discard(loop)
            claimed = self._claim()
        if claimed:
            self._work(())

    def _announce(self) -> None:
        self._changed.notify_all()
        sleepers, self._sleepers = self._sleepers, {}
        for loop, futures in sleepers.items():
            with suppress(RuntimeError):  # The loop is closed, and its consumers are gone.
                loop.call_soon_threadsafe(_wake, futures)

    # Work on the engine.

    @property
    def _has_work(self) -> bool:
        return bool(self._inbox) or not self._is_idle

    def _claim(self) -> bool:
        if self._is_busy or not self._has_work:
            return False
        self._is_busy = True
        return True

    def _work(self, streams: Sequence[EventStream] | None = None) -> None:
        """Empty the inbox; then step, unless `streams` is None or has got an event by that.

        The caller has claimed the engine; this lets it go.
        """
        claimed = True
        while claimed:
            self._work_once(streams)
            streams = None
            with self._changed:
                # Whoever cancels while the engine is busy leaves it at that.
                claimed = bool(self._inbox) and self._claim()

    def _work_once(self, streams: Sequence[EventStream] | None) -> None:
        try:
            self._empty_inbox()
            needed = streams is not None and not any(stream.events for stream in streams)
            if needed and not self._engine.is_idle:
                self._fresh.extend(self._engine.step())
                self._deliver()
        except Exception as error:
            for stream in list(self._streams.values()):
                self._end(stream, "failed", error)
        except BaseException:
            self._mend()
            raise
        finally:
            with self._changed:
                self._is_idle = self._engine.is_idle
                self._is_busy = False
                self._announce()

    def _empty_inbox(self) -> None:
        if not self._inbox:
            return
        while self._inbox:
            stream, action = self._inbox.popleft()
            try:
                action()
            except Exception as error:
                self._end(stream, "failed", error)
            except BaseException:
                self._end(stream, "failed", _interrupted())
                raise
        with self._changed:
            self._announce()

    def _mend(self) -> None:
        """After an interrupt: only a request of which an event is lost has to end."""
        self._deliver()
        for stream in list(self._streams.values()):
            if not stream.is_whole:
                self._end(stream, "failed", _interrupted())

    def _deliver(self) -> None:
        while self._fresh:
            request_id = self._fresh[0].request_id
            stream = self._streams.get(request_id)
            group = []
            while self._fresh and self._fresh[0].request_id == request_id:
                group.append(self._fresh.popleft())
            if stream is None:  # An interrupt has ended the request meanwhile.
                continue
            try:
                self._hand_over(stream, group)
            except Exception as error:
                self._end(stream, "failed", error)

    def _hand_over(self, stream: EventStream, events: Sequence[Event]) -> None:
        stream.take(events)
        if stream.has_stopped:
            self._end(stream, "stop")
            return
        with self._changed:
            if stream.has_finished:
                self._streams.pop(stream.request.id, None)
            self._awaiting = [item for item in self._awaiting if item.awaits_answer]
            if stream.awaits_answer and stream not in self._awaiting:
                self._awaiting.append(stream)

    def _add(self, stream: EventStream) -> None:
        self._streams[stream.request.id] = stream
        self._hand_over(stream, self._engine.add(stream.request))

    def _insert(self, stream: EventStream, candidates: Sequence[Candidate]) -> None:
        if stream.request.state is State.AWAITING_PASSAGES:
            self._hand_over(stream, [self._engine.insert(stream.request.id, candidates)])

    def _end(
        self, stream: EventStream, reason: FinishReason, error: Exception | None = None
    ) -> None:
        if stream.has_finished:
            return
        request = stream.request
        stream.error = error
        try:
            event = self._engine.finish(request.id, reason)
        except Exception as refusal:
            # The engine never had it, has lost its last event, or is broken.
            stream.error = error or refusal
            if request.state is State.FINISHED:
                event = Finished(request.id, "failed", request.usage)
            else:
                event = request.finish("failed")
        self._hand_over(stream, [event])


def _interrupted() -> OneGenError:
    return OneGenError(
        "An engine step was interrupted; expected it to end; submit the request again"
    )


def _wake(futures: Iterable["Future[None]"]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
