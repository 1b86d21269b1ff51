"""Schedules requests on one lock-step engine: an `engine.base.Engine` made of a `StepEngine`.

The life of a request:

    submit                  -> QUEUED     it waits for a slot; the queue is bounded by `max_queue`
    admit                   -> RUNNING    the engine has a slot for it, until it has finished
    it has read a query     -> AWAITING   its sink has a RetrievalRequested; the slot is kept
    insert                  -> RUNNING    passages stand behind its query token
    end, finish, failure    -> FINISHED   its sink has Finished; the slot is free

A nested request, which a retriever makes while others wait for it, is admitted without a free slot:
the others may hold all of them.

The scheduler has no thread. A caller that needs an event calls `run_once`, which admits, runs and
delivers for all requests; one thread at a time does so. Calls of `insert` and `finish` come
from any thread and wait in `_commands` for the next run.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby

from onegen_model.engine.base import Sink, StepEngine
from onegen_model.errors import EngineError, InvalidInputError, QueueFullError
from onegen_model.events import Event, Finished, FinishReason, RetrievalRequested, Token
from onegen_model.generation.phases import Entry, Finish, Insert, Phase
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.request import Request, State

logger = logging.getLogger(__name__)

MAX_QUEUE = 1024


class Scheduler:
    """Implements `engine.base.Engine`."""

    def __init__(self, engine: StepEngine, *, max_queue: int = MAX_QUEUE) -> None:
        if max_queue < 1:
            raise InvalidInputError(
                f"max_queue={max_queue}; expected at least 1; requests pass through the queue"
            )
        self._engine = engine
        self._max_queue = max_queue
        # Reentrant, because the garbage collector may cancel a request anywhere.
        self._lock = threading.RLock()
        # Stands for the call of `run_once` that is at work.
        self._run: object | None = None
        self._can_step = False
        self._entries: dict[int, Entry] = {}
        self._queue: deque[Entry] = deque()
        self._nested: deque[Entry] = deque()  # requests that others wait for; they need no slot
        self._commands: deque[Insert | Finish] = deque()

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
    def num_running(self) -> int:
        return max(0, len(self._entries) - self.num_waiting)

    @property
    def num_waiting(self) -> int:
        return len(self._queue) + len(self._nested)

    @property
    def is_starved(self) -> bool:
        return bool(self._queue) and not self._engine.has_room

    @property
    def has_work(self) -> bool:
        can_work = bool(self._commands) or bool(self._open_queue()) or self._can_step
        return self._run is None and can_work

    def _open_queue(self) -> deque[Entry] | None:
        """The queue whose first request may be admitted now."""
        return self._nested or (self._queue if self._engine.has_room else None)

    def submit(self, request: Request, sink: Sink) -> None:
        entry = Entry(request, sink)
        is_nested = request.prompt.is_nested
        with self._lock:
            if not (self.has_room or is_nested):
                raise QueueFullError(
                    f"{len(self._queue)} requests wait for a slot; expected fewer than "
                    f"{self._max_queue}; wait for room, or submit it later"
                )
            self._entries[request.id] = entry
            (self._nested if is_nested else self._queue).append(entry)

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> None:
        self._commands.append(Insert(request_id, candidates, empty))

    def finish(self, request_id: int, reason: FinishReason, error: Exception | None = None) -> None:
        self._commands.append(Finish(request_id, reason, error))

    def run_once(self, is_served: Callable[[], bool]) -> bool:
        """Admit, run, deliver; False if another thread is working or there is nothing to do."""
        run, has_run = object(), False
        try:
            # A command may arrive after `_work` has looked, from a caller that could not claim.
            while (not has_run or self._commands) and self._claim(run):
                has_run = True
                self._work(is_served)
                self._can_step = not self._engine.is_idle
                self._run = None
                is_served = _always
        finally:
            # Interrupts come with calls and loops: none can come in between here.
            if self._run is run:
                self._run = None
        return has_run

    def _work(self, is_served: Callable[[], bool]) -> None:
        try:
            self._obey()
            if not is_served():
                self._admit()
            if not (self._engine.is_idle or is_served()):
                self._deliver(self._engine.step())
            self._obey()  # A stop string ends its request before it is read on.
        except Exception as error:
            self._end_all(Phase.RUNNING, error)
        except BaseException:
            self._end_interrupted()
            raise

    def abandon(self, error: Exception) -> None:
        """In a forked child: end every request with `error`, whatever the parent was doing."""
        self._lock = threading.RLock()
        self._queue.clear()
        self._nested.clear()
        self._commands.clear()
        self._run, self._can_step = None, False
        for entry in list(self._entries.values()):
            self._end_without_engine(entry, "failed", error)
        self._entries.clear()

    def _claim(self, run: object) -> bool:
        with self._lock:
            if self.has_work:
                self._run = run
                self._can_step = True  # Until it is known, in case of an interrupt.
            return self._run is run

    def _obey(self) -> None:
        """Execute the commands of `insert` and `finish`."""
        while self._commands:
            # It is dropped when it is done: an interrupt before that repeats it, to no effect.
            self._execute(self._commands[0])
            self._commands.popleft()

    def _execute(self, command: Insert | Finish) -> None:
        entry = self._entries.get(command.request_id)
        if entry is None:
            return
        try:
            if isinstance(command, Finish):
                self._end(entry, command.reason, command.error)
            elif entry.phase is Phase.AWAITING:
                found = (command.candidates, command.empty)
                self._tell(entry, self._engine.insert(entry.request.id, *found))
        except Exception as error:
            self._end(entry, "failed", error)
        except BaseException:
            self._end(entry, "failed", _interrupted())
            raise

    def _admit(self) -> None:
        while queue := self._open_queue():
            entry = queue[0]
            try:
                queue.popleft()
                entry.phase = Phase.RUNNING
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

    def _tell(self, entry: Entry, events: Sequence[Event]) -> None:
        entry.sink(events)
        if events and isinstance(events[-1], Finished):
            self._forget(entry)
        elif entry.request.state is State.AWAITING_PASSAGES:
            entry.phase = Phase.AWAITING
        else:
            entry.phase = Phase.RUNNING
        # Last: an interrupt before this leaves an entry that is not whole.
        for event in events:
            entry.num_tokens += isinstance(event, Token)
            entry.num_queries += isinstance(event, RetrievalRequested)

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.request.id, None)
        entry.phase = Phase.FINISHED

    def _end(self, entry: Entry, reason: FinishReason, error: Exception | None = None) -> None:
        if entry.phase is Phase.FINISHED:
            return
        if entry.phase is Phase.QUEUED:
            with self._lock, suppress(ValueError):  # An interrupted `_admit` has taken it out.
                (self._nested if entry.request.prompt.is_nested else self._queue).remove(entry)
            self._end_without_engine(entry, reason, error)
            return
        try:
            event = self._engine.finish(entry.request.id, reason)
        except Exception as refusal:
            # The engine never had it, has lost its last event, or is broken.
            self._end_without_engine(entry, "failed", error or refusal)
        else:
            self._tell_end(entry, event, error)

    def _end_without_engine(
        self, entry: Entry, reason: FinishReason, error: Exception | None
    ) -> None:
        request = entry.request
        if request.state is State.FINISHED:  # Its last event is lost.
            event = Finished(request.id, "failed", request.usage)
        else:
            event = request.finish(reason)
        self._tell_end(entry, event, error)

    def _tell_end(self, entry: Entry, event: Finished, error: Exception | None) -> None:
        entry.request.error = error or entry.request.error
        try:
            self._tell(entry, [event])
        except Exception:
            logger.exception("The sink of request %d refuses its end", event.request_id)
            self._forget(entry)

    def _end_all(self, phase: Phase, error: Exception) -> None:
        for entry in [one for one in self._entries.values() if one.phase is phase]:
            self._end(entry, "failed", error)

    def _end_interrupted(self) -> None:
        """After an interrupt, only a request of which an event is lost has to end."""
        for entry in list(self._entries.values()):
            if not entry.is_whole:
                self._end(entry, "failed", _interrupted())


def _always() -> bool:
    return True


def _interrupted() -> EngineError:
    return EngineError(
        "An engine step was interrupted; expected it to end; submit the request again"
    )
