"""Watches the requests of models: their events pass through here on the way to a route."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from onegen_integrations.server.observing.metrics import FINISHED_REASONS, Metrics
from onegen_integrations.server.observing.tracing import RequestSpan, Tracing
from onegen_model import (
    Event,
    Finished,
    OneGenModel,
    PassagesInserted,
    RequestHandle,
    RetrievalRequested,
    Token,
)

# Passes the events of a request on, see `Observer.watched`.
Watch = Callable[[RequestHandle, AsyncGenerator[Event, None]], AsyncGenerator[Event, None]]


@dataclass(slots=True)
class Observer:
    """What a server counts, and traces where `tracing` is set."""

    models: Mapping[str, OneGenModel]
    tracing: Tracing | None = None
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.models)

    async def watched(
        self, model: str, handle: RequestHandle, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        """`events` of a request as they come; closing this closes them."""
        span = self.tracing.chat(model, handle) if self.tracing else None
        watch = RequestWatch(self.metrics, model, span)
        try:
            async with aclosing(events):
                async for event in events:
                    watch.saw(event)
                    yield event
        finally:
            watch.ended(handle)

    def of(self, model: OneGenModel) -> "Watch":
        """`watched` for a model that is served."""
        return partial(self.watched, self._name(model))

    def _name(self, model: OneGenModel) -> str:
        return next(name for name, one in self.models.items() if one is model)

    @contextmanager
    def computing(self, operation: str, model: OneGenModel) -> Iterator[None]:
        """A span of work without events, such as "embeddings"."""
        if self.tracing is None:
            yield
        else:
            with self.tracing.operation(operation, self._name(model)):
                yield

    def close(self) -> None:
        """Send what is left of the traces."""
        if self.tracing is not None:
            self.tracing.close()


class RequestWatch:
    """One request; times are those at which its consumer sees the events."""

    def __init__(self, metrics: Metrics, model: str, span: RequestSpan | None = None) -> None:
        self._metrics, self._model, self._span = metrics, model, span
        self._begun = perf_counter()
        self._last_token: float | None = None
        self._has_token = False
        self._search_begun: float | None = None
        self._reason = "cancelled"

    def saw(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Token(forced=False):
                self._saw_token(perf_counter())
            case RetrievalRequested():
                self._search_begun = perf_counter()
                if self._span:
                    self._span.search_begun(event.hop)
            case PassagesInserted():
                self._searched("found" if event.passages else "empty", len(event.passages))
                self._last_token = perf_counter()
            case Finished():
                self._reason = event.reason

    def _saw_token(self, now: float) -> None:
        if not self._has_token:
            self._has_token = True
            self._metrics.time_to_first_token.labels(self._model).observe(now - self._begun)
        elif self._last_token is not None:
            passed = now - self._last_token
            self._metrics.inter_token_latency.labels(self._model).observe(passed)
        self._last_token = now

    def _searched(self, outcome: str, found: int) -> None:
        if self._search_begun is None:
            return
        passed, self._search_begun = perf_counter() - self._search_begun, None
        self._metrics.retrievals.labels(self._model, outcome).inc()
        self._metrics.retrieval_seconds.labels(self._model).observe(passed)
        if self._span:
            self._span.search_ended(found, failed=outcome == "failed")

    def ended(self, handle: RequestHandle) -> None:
        """Count the request; one that has no end yet was left by its consumer."""
        self._searched("failed" if self._reason == "failed" else "abort", 0)
        metrics, reason = self._metrics, FINISHED_REASONS[self._reason]
        metrics.request_success.labels(self._model, reason).inc()
        if (waited := handle.queue_seconds) is not None:
            metrics.request_queue_time.labels(self._model).observe(waited)
        metrics.count(self._model, handle.request.usage)
        if self._span:
            self._span.ended(handle, reason)
