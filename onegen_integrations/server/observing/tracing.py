"""OpenTelemetry spans by the semantic conventions for generative AI; the extra `telemetry`.

A span has names, numbers and counters: no text of a message, a query or a passage.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onegen_model.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from onegen_model import RequestHandle

_PROVIDER = "onegen"


def require_telemetry() -> None:
    """Raise MissingExtraError where no span can be sent."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401 (both are used by `Tracing`)
    except ImportError as error:
        raise MissingExtraError(
            f"Tracing needs {error.name}; expected it installed; run "
            'pip install "onegen[server,telemetry]", or leave out --otel'
        ) from error


class Tracing:
    """Makes spans. The provider is the server's own, so that nothing global changes."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("onegen_integrations.server")

    @classmethod
    def from_environment(cls) -> "Tracing":
        """Spans go where the variables `OTEL_…` say; raises MissingExtraError."""
        require_telemetry()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = os.environ.get("OTEL_SERVICE_NAME") or "onegen"
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    @contextmanager
    def within(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Spans that begin inside belong to the trace of the caller, by `traceparent`."""
        from opentelemetry import context, propagate

        token = context.attach(propagate.extract(headers))
        try:
            yield
        finally:
            context.detach(token)

    def chat(self, model: str, handle: "RequestHandle") -> "RequestSpan":
        """The span of a request, from now until its end."""
        sampling = handle.request.sampling
        asked = {
            "gen_ai.request.max_tokens": sampling.max_new_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
        }
        return RequestSpan(self, self._begin("chat", model, asked))

    @contextmanager
    def operation(self, name: str, model: str) -> Iterator[None]:
        """The span of a computation that has no events."""
        span = self._begin(name, model, {})
        try:
            yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    def search(self, parent: "Span", hop: int) -> "Span":
        """The span of a retrieval inside a request."""
        from opentelemetry.trace import set_span_in_context

        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.provider.name": _PROVIDER,
            "onegen.retrieval.hop": hop,
        }
        context = set_span_in_context(parent)
        return self._tracer.start_span("retrieval", context=context, attributes=attributes)

    def _begin(self, operation: str, model: str, further: Mapping[str, float]) -> "Span":
        attributes: dict[str, str | float] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": model,
            **further,
        }
        return self._tracer.start_span(f"{operation} {model}", attributes=attributes)

    def close(self) -> None:
        """Send the spans that wait, and end."""
        self._provider.shutdown()


class RequestSpan:
    """The span of one request, and the one of its open search."""

    def __init__(self, tracing: Tracing, span: "Span") -> None:
        self._tracing, self._span = tracing, span
        self._search: Span | None = None

    def search_begun(self, hop: int) -> None:
        """The model searches."""
        self._search = self._tracing.search(self._span, hop)

    def search_ended(self, found: int, *, failed: bool) -> None:
        """`found` passages were inserted."""
        if self._search is not None:
            self._search.set_attribute("onegen.retrieval.passages", found)
            if failed:
                _fail(self._search, "retrieval")
            self._search.end()
            self._search = None

    def ended(self, handle: "RequestHandle", reason: str) -> None:
        """`reason` is the one of `/metrics`."""
        usage = handle.request.usage
        self._span.set_attributes(
            {
                "gen_ai.response.finish_reasons": (reason,),
                "gen_ai.usage.input_tokens": usage.prompt + usage.inserted,
                "gen_ai.usage.output_tokens": usage.written,
                "gen_ai.usage.cache_read.input_tokens": usage.reused,
                "onegen.usage.inserted_tokens": usage.inserted,
                "onegen.usage.retrievals": usage.retrievals,
            }
        )
        if reason == "error":
            _fail(self._span, type(handle.error).__name__)
        self._span.end()


def _fail(span: "Span", kind: str) -> None:
    """Mark a span; the message of an error may hold texts, so it is left out."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
