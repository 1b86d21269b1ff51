"""What the scheduler keeps of a request: its phase, and what was asked for from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from onegen_model.engine.base import Sink
from onegen_model.events import FinishReason
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.request import Request, State


class Phase(Enum):
    """Progress of a request in the scheduler; see the top of the module."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING = "awaiting passages"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Entry:
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
class Insert:
    request_id: int
    candidates: Sequence[Candidate]
    empty: EmptySearch | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    request_id: int
    reason: FinishReason
    error: Exception | None = None
