"""What the core needs of an engine. An engine moves tensors for many requests; it knows no
retriever and no text.

There are two protocols. An `Engine` is an event source per request and may own its batching and its
threads. A `StepEngine` advances all of its requests in lock steps; `generation.scheduler.Scheduler`
makes an `Engine` of it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from onegen_model.events import Event, Finished, FinishReason
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.request import Request

# Takes adjacent events of one request, in order; an exception of a sink ends its request. The end
# comes in one call with the token that brought it: text that was held back goes with that token.
Sink: TypeAlias = Callable[[Sequence[Event]], None]


class EngineLimits(Protocol):
    """What an engine can take."""

    @property
    def max_context(self) -> int:
        """Longest sequence of one request, in tokens."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Ids below this can be read."""
        ...


class Engine(EngineLimits, Protocol):
    """An event source per request. All methods may be called from any thread.

    Each request has one sink, which is called by one thread at a time. A failure ends only the
    request that failed: `Finished("failed")`, with the cause in `Request.error`. Where the sampling
    of a request asks for log-probabilities, its `Token` events have them.
    """

    @property
    def has_room(self) -> bool:
        """Whether `submit` would take another request."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether a call of `run_once` would do something now."""
        ...

    @property
    def num_running(self) -> int:
        """Requests that have begun and have not finished, those that await passages included."""
        ...

    @property
    def num_waiting(self) -> int:
        """Requests that were submitted and have not begun."""
        ...

    @property
    def is_starved(self) -> bool:
        """Whether requests wait for slots, so that slots of idle requests matter to others."""
        ...

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue a request; raises QueueFullError."""
        ...

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> None:
        """Answer a RetrievalRequested. Ignored when the request has finished meanwhile."""
        ...

    def finish(self, request_id: int, reason: FinishReason, error: Exception | None = None) -> None:
        """End a request from outside. Ignored when it has finished meanwhile."""
        ...

    def run_once(self, is_served: Callable[[], bool]) -> bool:
        """Work on the caller's thread for a moment, for all requests; False if there was nothing.

        No tensor is moved when `is_served` says that the caller has what it came for. An engine
        with a thread of its own does nothing here.
        """
        ...

    def abandon(self, error: Exception) -> None:
        """In a forked child: end every request with `error`, whatever the parent was doing."""
        ...


@runtime_checkable
class StepEngine(EngineLimits, Protocol):
    """Advances requests in lock steps. Not thread-safe: its one scheduler serialises the calls.

    Where the sampling of a request asks for log-probabilities, its `Token` events have them.
    """

    @property
    def has_room(self) -> bool:
        """Whether a slot is free. Requests that await passages keep theirs."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is RUNNING, so that `step` would do nothing."""
        ...

    def add(self, request: Request) -> list[Event]:
        """Give a request a slot; returns the events of what is forced at its start.

        A nested request (`Prompt.is_nested`) gets one even where there is no room.

        Raises InvalidInputError for a request that it cannot serve, such as one with a grammar that
        allows nothing; the request is then as it was.
        """
        ...

    def step(self) -> list[Event]:
        """Advance every RUNNING request by at most one sampled token.

        A row that still has a chunk to read may produce no event in this step. Events of one
        request are adjacent and in order. A row that cannot be computed ends as "failed".
        """
        ...

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> list[Event]:
        """Answer a RetrievalRequested; the passages are read by the next steps."""
        ...

    def finish(self, request_id: int, reason: FinishReason) -> Finished:
        """End a request from outside ("stop", "cancelled", "failed")."""
        ...
