"""Schedules requests on one lock-step engine: an `engine.base.Engine` made of a `StepEngine`.

The life of a request:

    submit                  -> QUEUED     it waits for a slot; the queue is bounded by `max_queue`
    admit                   -> RUNNING    the engine has a slot for it, until it has finished
    it has read a query     -> AWAITING   its sink has a RetrievalRequested; the slot is kept
    insert                  -> RUNNING    passages stand behind its query token
    end, finish, failure    -> FINISHED   its sink has Finished; the slot is free

There is no thread here. Whoever needs an event calls `run_once`, which admits, runs and delivers
for all requests; one thread at a time does so. Calls of `insert` and `finish` come from any thread
and wait in `_commands` for the next run.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from onegen_model.engine.base import Sink, StepEngine
from onegen_model.errors import EngineError, QueueFullError
from onegen_model.events import Event, Finished, FinishReason, RetrievalRequested, Token
from onegen_model.inputs import Candidate
from onegen_model.request import Request, State

MAX_QUEUE = 1024


class Phase(Enum):
    """Where the scheduler has a request; see the top of the module."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING = "awaiting passages"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class _Entry:
    """A request with its sink, its phase, and how many of its events the sink has had."""

    request: Request
    sink: Sink
    phase: Phase = Phase.QUEUED
    num_tokens: int = 0
    num_queries: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the sink has had every event of the request."""
        usage = self.request.usage
        return (
            usage.written == self.num_tokens
            and usage.retrievals == self.num_queries
            and (self.request.state is State.FINISHED) == (self.phase is Phase.FINISHED)
        )


@dataclass(frozen=True, slots=True)
class _Insert:
    request_id: int
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class _Finish:
    request_id: int
    reason: FinishReason
    error: Exception | None = None


class Scheduler:
    """Implements `engine.base.Engine`."""

    def __init__(self, engine: StepEngine, *, max_queue: int = MAX_QUEUE) -> None:
        self._engine = engine
        self._max_queue = max_queue
        # Reentrant, because the garbage collector may cancel a request anywhere.
        self._lock = threading.RLock()
        self._is_busy = False
        self._can_step = False
        self._entries: dict[int, _Entry] = {}
        self._queue: deque[_Entry] = deque()
        self._commands: deque[_Insert | _Finish] = deque()

    @property
    def max_context(self) -> int:
        return self._engine.max_context

    @property
    def vocabulary_size(self) -> int:
        return self._engine.vocabulary_size

    @property
    def has_room(self) -> bool:
        return len(self._queue) < self._max_queue

    @property
    def is_starved(self) -> bool:
        return bool(self._queue) and not self._engine.has_room

    @property
    def has_work(self) -> bool:
        can_admit = bool(self._queue) and self._engine.has_room
        return not self._is_busy and (bool(self._commands) or can_admit or self._can_step)

    def submit(self, request: Request, sink: Sink) -> None:
        entry = _Entry(request, sink)
        with self._lock:
            if not self.has_room:
                raise QueueFullError(
                    f"{len(self._queue)} requests wait for a slot; expected fewer than "
                    f"{self._max_queue}; wait for room, or submit it later"
                )
            self._entries[request.id] = entry
            self._queue.append(entry)

    def insert(self, request_id: int, candidates: Sequence[Candidate]) -> None:
        self._commands.append(_Insert(request_id, candidates))

    def finish(self, request_id: int, reason: FinishReason, error: Exception | None = None) -> None:
        self._commands.append(_Finish(request_id, reason, error))

    def run_once(self, is_served: Callable[[], bool]) -> bool:
        """Admit, run, deliver; False if another thread is at it or there is nothing to do."""
        if not self._claim():
            return False
        try:
            self._obey()
            self._admit()
            if not (self._engine.is_idle or is_served()):
                self._deliver(self._engine.step())
            self._obey()  # A stop string ends its request before it is read on.
        except Exception as error:
            self._end_all(Phase.RUNNING, error)
        except BaseException:
            self._end_interrupted()
            raise
        finally:
            self._release()
        if self._commands:  # Somebody asked while this thread was at work, and relies on it.
            self.run_once(lambda: True)
        return True

    def abandon(self, error: Exception) -> None:
        """In a forked child: end every request with `error`, whatever the parent was doing."""
        self._lock = threading.RLock()
        self._queue.clear()
        self._commands.clear()
        self._is_busy = self._can_step = False
        for entry in list(self._entries.values()):
            if entry.request.state is not State.FINISHED:
                self._tell(entry, [entry.request.fail(error)])
        self._entries.clear()

    def _claim(self) -> bool:
        with self._lock:
            claimed = self.has_work
            self._is_busy = self._is_busy or claimed
            return claimed

    def _release(self) -> None:
        with self._lock:
            self._can_step = not self._engine.is_idle
            self._is_busy = False

    def _obey(self) -> None:
        """Do what was asked for from outside."""
        while self._commands:
            command = self._commands.popleft()
            entry = self._entries.get(command.request_id)
            if entry is None:
                continue
            try:
                if isinstance(command, _Finish):
                    self._end(entry, command.reason, command.error)
                elif entry.phase is Phase.AWAITING:
                    self._tell(entry, self._engine.insert(entry.request.id, command.candidates))
            except Exception as error:
                self._end(entry, "failed", error)
            except BaseException:
                self._end(entry, "failed", _interrupted())
                raise

    def _admit(self) -> None:
        while self._queue and self._engine.has_room:
            entry = self._queue.popleft()
            entry.phase = Phase.RUNNING
            try:
                self._tell(entry, self._engine.add(entry.request))
            except Exception as error:
                self._end(entry, "failed", error)
            except BaseException:
                self._end(entry, "failed", _interrupted())
                raise

    def _deliver(self, events: Sequence[Event]) -> None:
        for request_id, group in groupby(events, key=lambda event: event.request_id):
            # An interrupt may have ended the request while its events were on their way.
            if (entry := self._entries.get(request_id)) is not None:
                try:
                    self._tell(entry, list(group))
                except Exception as error:
                    self._end(entry, "failed", error)

    def _tell(self, entry: _Entry, events: Sequence[Event]) -> None:
        entry.sink(events)
        for event in events:
            entry.num_tokens += isinstance(event, Token)
            entry.num_queries += isinstance(event, RetrievalRequested)
        if events and isinstance(events[-1], Finished):
            entry.phase = Phase.FINISHED
            self._entries.pop(entry.request.id, None)
        elif entry.request.state is State.AWAITING_PASSAGES:
            entry.phase = Phase.AWAITING
        else:
            entry.phase = Phase.RUNNING

    def _end(self, entry: _Entry, reason: FinishReason, error: Exception | None = None) -> None:
        if entry.phase is Phase.FINISHED:
            return
        request = entry.request
        if entry.phase is Phase.QUEUED:
            with self._lock:
                self._queue.remove(entry)
        try:
            if entry.phase is Phase.QUEUED:
                event = request.finish(reason)
            else:
                event = self._engine.finish(request.id, reason)
        except Exception as refusal:
            # The engine never had it, has lost its last event, or is broken.
            error = error or refusal
            if request.state is State.FINISHED:
                event = Finished(request.id, "failed", request.usage)
            else:
                event = request.finish("failed")
        request.error = error or request.error
        self._tell(entry, [event])

    def _end_all(self, phase: Phase, error: Exception) -> None:
        for entry in [one for one in self._entries.values() if one.phase is phase]:
            self._end(entry, "failed", error)

    def _end_interrupted(self) -> None:
        """After an interrupt, only a request of which an event is lost has to end."""
        for entry in list(self._entries.values()):
            if not entry.is_whole:
                self._end(entry, "failed", _interrupted())


def _interrupted() -> EngineError:
    return EngineError(
        "An engine step was interrupted; expected it to end; submit the request again"
    )
