"""An engine that owns its batching: an event source with a thread of its own, as servers have."""

import queue
import threading
from collections.abc import Callable, Sequence
from itertools import groupby

from onegen_model.engine.base import Sink, StepEngine
from onegen_model.events import Event, Finished, FinishReason
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.request import Request, State


class ThreadedEngine:
    """Implements `engine.base.Engine` by steps of another engine, in a thread of its own."""

    def __init__(self, engine: StepEngine) -> None:
        self._engine = engine
        self._sinks: dict[int, Sink] = {}
        self._requests: dict[int, Request] = {}
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def max_context(self) -> int:
        return self._engine.max_context

    @property
    def vocabulary_size(self) -> int:
        return self._engine.vocabulary_size

    has_room, has_work, is_starved = True, False, False
    num_waiting = 0

    @property
    def num_running(self) -> int:
        return len(self._requests)

    def submit(self, request: Request, sink: Sink) -> None:
        def start() -> None:
            self._sinks[request.id], self._requests[request.id] = sink, request
            self._deliver(self._engine.add(request))

        self._jobs.put(start)

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> None:
        def insert() -> None:
            if self._state(request_id) is State.AWAITING_PASSAGES:
                self._deliver(self._engine.insert(request_id, candidates, empty))

        self._jobs.put(insert)

    def finish(self, request_id: int, reason: FinishReason, error: Exception | None = None) -> None:
        def finish() -> None:
            if self._state(request_id) is not State.FINISHED:
                event = self._engine.finish(request_id, reason)
                self._requests[request_id].error = error
                self._deliver([event])

        self._jobs.put(finish)

    def run_once(self, is_served: Callable[[], bool]) -> bool:
        return False

    def abandon(self, error: Exception) -> None:
        for request_id, sink in self._sinks.items():
            request = self._requests[request_id]
            if request.state is State.FINISHED:
                sink([Finished(request_id, "failed", request.usage)])
            else:
                sink([request.fail(error)])
        self._sinks.clear()

    def _state(self, request_id: int) -> State:
        known = self._requests.get(request_id)
        return known.state if known else State.FINISHED

    def _work(self) -> None:
        while True:
            if self._engine.is_idle or not self._jobs.empty():
                self._jobs.get()()
            else:
                self._deliver(self._engine.step())

    def _deliver(self, events: Sequence[Event]) -> None:
        for request_id, group in groupby(events, key=lambda event: event.request_id):
            together = list(group)
            self._sinks[request_id](together)
            if isinstance(together[-1], Finished):
                del self._sinks[request_id], self._requests[request_id]
