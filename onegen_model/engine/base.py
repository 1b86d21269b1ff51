"""What a driver needs of an engine. An engine moves tensors for many requests; it knows no
retriever and no text.
"""

from collections.abc import Sequence
from typing import Protocol

from onegen_model.events import Event, Finished, FinishReason, PassagesInserted
from onegen_model.request import Candidate, Request


class Engine(Protocol):
    """Not thread-safe: its one driver serialises the calls."""

    @property
    def max_context(self) -> int:
        """Longest sequence of one request, in tokens."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is RUNNING, so that `step` would do nothing."""
        ...

    def add(self, request: Request) -> list[Event]:
        """Admit a request; returns the events of what is forced at its start.

        Raises InvalidInputError for one it cannot serve, as it was: a grammar that allows nothing.
        """
        ...

    def step(self) -> list[Event]:
        """Advance every RUNNING request by at most one token.

        A row that still has a chunk to read may produce no event in this step. Events of one
        request are adjacent and in order.
        """
        ...

    def insert(self, request_id: int, candidates: Sequence[Candidate]) -> PassagesInserted:
        """Answer a RetrievalRequested; the passages are read by the next steps."""
        ...

    def finish(self, request_id: int, reason: FinishReason) -> Finished:
        """End a request from outside ("stop", "cancelled", "failed")."""
        ...
