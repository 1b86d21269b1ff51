"""The numbers of `/metrics`. Names behind `onegen:` are those of vLLM where it has the same number.

Each server has a registry of its own, so that several live in one process.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from onegen_model import OneGenModel, Usage
from onegen_model.errors import OneGenError

_MODEL = ("model_name",)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

# The reasons of vLLM for ours.
FINISHED_REASONS = {
    "end": "stop",
    "stop": "stop",
    "length": "length",
    "cancelled": "abort",
    "failed": "error",
}


class Metrics:
    """Counters and histograms; the queues of `models` are looked at when somebody asks."""

    def __init__(self, models: Mapping[str, OneGenModel]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Queues(models))
        self._add_answers()
        self._add_tokens()
        self.retrievals = self._counter(
            "retrievals", "Searches inside answers: found, empty, failed or abort.", "outcome"
        )
        self.retrieval_seconds = self._histogram("retrieval_seconds", "Seconds of a search.")
        names = ("method", "route", "status")
        self.http_requests = Counter(
            "onegen:http_requests", "Requests by route.", names, registry=self.registry
        )
        self.http_seconds = Histogram(
            "onegen:http_request_duration_seconds",
            "Seconds until a response has ended.",
            names[:2],
            registry=self.registry,
            buckets=_SECONDS,
        )

    def _add_answers(self) -> None:
        self.request_success = self._counter(
            "request_success", "Ended requests of the engine.", "finished_reason"
        )
        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds", "From the submission to the first sampled token."
        )
        self.inter_token_latency = self._histogram(
            "inter_token_latency_seconds",
            "Between sampled tokens; searches are left out.",
            _TOKEN_SECONDS,
        )
        self.request_queue_time = self._histogram(
            "request_queue_time_seconds", "Seconds that a request waited for a slot."
        )

    def _add_tokens(self) -> None:
        self._tokens = {
            "prompt": self._counter("prompt_tokens", "Tokens of prompts."),
            "reused": self._counter(
                "prompt_tokens_cached", "Tokens of prompts and passages that the cache had."
            ),
            "written": self._counter("generation_tokens", "Tokens that were written."),
            "inserted": self._counter("inserted_tokens", "Tokens of inserted passages."),
            "forwarded": self._counter("positions_forwarded", "Positions that were computed."),
        }
        self._read_twice = self._counter(
            "positions_read_twice", "Positions of one request that were computed again."
        )

    def count(self, model: str, usage: Usage) -> None:
        """Add the tokens of a request that has ended."""
        for name, counter in self._tokens.items():
            counter.labels(model).inc(getattr(usage, name))
        self._read_twice.labels(model).inc(read_twice(usage))

    def exposition(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"onegen:{name}", text, (*_MODEL, *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"onegen:{name}", text, _MODEL, registry=self.registry, buckets=buckets)


def read_twice(usage: Usage) -> int:
    """Positions that were read beyond one pass; the last token is never read."""
    once = usage.prompt + usage.written + usage.inserted - 1
    return max(0, usage.forwarded + usage.reused - once)


class _Queues(Collector):
    def __init__(self, models: Mapping[str, OneGenModel]) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Nothing: without this the registry would build every engine to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        texts = {
            "num_requests_running": "Requests that hold a slot, searching ones included.",
            "num_requests_waiting": "Requests that wait for a slot.",
            "kv_cache_usage_perc": "Share of the cache that unfinished requests fill; 1 is full.",
        }
        for name, text in texts.items():
            family = GaugeMetricFamily(f"onegen:{name}", text, labels=_MODEL)
            for model_name, model in self._models.items():
                with suppress(OneGenError):  # One that only links has no engine.
                    value = _gauges(model)[name]
                    if value is not None:
                        family.add_metric([model_name], value)
            yield family


def _gauges(model: OneGenModel) -> dict[str, float | None]:
    return {
        "num_requests_running": model.driver.num_running,
        "num_requests_waiting": model.driver.num_waiting,
        "kv_cache_usage_perc": getattr(model.engine, "cache_usage", None),
    }
