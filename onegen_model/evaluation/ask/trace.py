"""Traces: all events of one request with their costs, and their form on disk."""

import base64
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onegen_model.events import (
    Event,
    Finished,
    PassagesInserted,
    RetrievalRequested,
    event_from_dict,
    event_to_dict,
)
from onegen_model.transcript.answer import written_spans


@dataclass(frozen=True, slots=True)
class Trace:
    """All events of one question; the last one is Finished.

    `started` (Unix time), `seconds` and `batch` (a number of questions) belong to the batch in
    which the question was asked. `peak_memory` is the peak of the process until then, in MiB.
    """

    question_id: str
    question: str
    events: tuple[Event, ...]
    started: float
    seconds: float
    batch: int
    peak_memory: float

    @property
    def requested(self) -> list[RetrievalRequested]:
        return [event for event in self.events if isinstance(event, RetrievalRequested)]

    @property
    def inserted(self) -> list[PassagesInserted]:
        return [event for event in self.events if isinstance(event, PassagesInserted)]

    @property
    def finished(self) -> Finished:
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last

    @property
    def spans(self) -> list[str]:
        """Written text, cut where passages were inserted."""
        return [span.text for span in written_spans(self.events)]


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """A JSON-able form; embeddings are float32 in base64."""
    return {
        "question_id": trace.question_id,
        "question": trace.question,
        "started": trace.started,
        "seconds": trace.seconds,
        "batch": trace.batch,
        "peak_memory": trace.peak_memory,
        "events": [_pack(event) for event in trace.events],
    }


def trace_from_dict(plain: Mapping[str, Any]) -> Trace:
    """Inverse of `trace_to_dict`; raises KeyError, TypeError or ValueError."""
    events = tuple(map(_unpack, plain["events"]))
    if not events or not isinstance(events[-1], Finished):
        raise ValueError("its last event is not Finished")
    costs = {name: plain[name] for name in ("started", "seconds", "batch", "peak_memory")}
    if not all(isinstance(value, int | float) for value in costs.values()):
        raise TypeError(f"its costs are {costs}")
    return Trace(str(plain["question_id"]), str(plain["question"]), events, **costs)


def _pack(event: Event) -> dict[str, Any]:
    plain = event_to_dict(event)
    if isinstance(event, RetrievalRequested):
        vector = base64.b64encode(event.query_embedding.tobytes()).decode("ascii")
        plain["query_embedding"] = vector
    return plain


def _unpack(plain: Mapping[str, Any]) -> Event:
    if "query_embedding" in plain:
        vector = array("f", base64.b64decode(plain["query_embedding"]))
        plain = {**plain, "query_embedding": vector}
    return event_from_dict(plain)
