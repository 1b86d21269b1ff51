"""A submitted request, as its submitter holds it."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.generation.stream import EventStream
from onegen_model.request import Request
from onegen_model.transcript.answer import Answer, Span, fold
from onegen_model.transcript.renderer import Renderer


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class RequestHandle:
    """A submitted request. Letting go of it before it has finished cancels the request."""

    stream: EventStream
    renderer: Renderer
    opening: tuple[Span, ...] = (Span(),)

    @property
    def request(self) -> Request:
        """Ids, usage and state; settled once the request has finished."""
        return self.stream.request

    @property
    def question(self) -> str:
        """What the user asked."""
        return self.request.prompt.question

    @property
    def error(self) -> Exception | None:
        """What made the request fail."""
        return self.request.error

    @property
    def queue_seconds(self) -> float | None:
        """How long the request waited for its slot; None while it waits."""
        begun = self.stream.begun_at
        return None if begun is None else begun - self.stream.submitted_at

    def answer(self) -> Answer:
        """All events so far as an answer; raises ValueError before the request has finished.

        What an unfinished answer at the end of the prompt began with is part of it.
        """
        request = self.request
        return fold(
            self.stream.events,
            request.ids,
            self.renderer,
            self.opening,
            request.prompt.passage_ids,
            constrained=request.sampling.grammar is not None,
        )


def submitted(handles: Sequence[RequestHandle | Exception]) -> list[RequestHandle]:
    """Those of a batch that were not refused."""
    return [handle for handle in handles if isinstance(handle, RequestHandle)]


def outcomes(handles: Sequence[RequestHandle | Exception]) -> list[Answer | Exception]:
    """What became of a batch whose requests have finished: answers, and errors in their places."""
    return [
        handle if isinstance(handle, Exception) else handle.error or handle.answer()
        for handle in handles
    ]
