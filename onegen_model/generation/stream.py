"""The events of one request on their way to its consumer: text is added, queries are formed."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Literal

from onegen_model.events import (
    Event,
    Finished,
    PassagesInserted,
    Query,
    RetrievalRequested,
    Token,
)
from onegen_model.places import held_ids
from onegen_model.request import Request
from onegen_model.retrieval.protocol import AnyRetriever
from onegen_model.transcript.detokenizer import TextStream
from onegen_model.transcript.renderer import Renderer

Consumer = Literal["thread", "task"]


class EventStream:
    """Takes the raw events of a request; holds them for its one consumer.

    `events` are all events so far. `query` is the query that waits for an answer. One thread at a
    time may call `take`, first when the request has begun; the consumer may call `next_event`
    meanwhile. `not_found_ids` are written where a search finds nothing.
    """

    def __init__(
        self,
        request: Request,
        retriever: AnyRetriever | None,
        renderer: Renderer,
        not_found_ids: tuple[int, ...] = (),
    ) -> None:
        self.request = request
        self.retriever = retriever
        self.events: list[Event] = []
        self._num_consumed = 0
        self.query: Query | None = None
        self.consumer: Consumer | None = None
        self.is_wanted = True
        self.submitted_at = perf_counter()
        self.begun_at: float | None = None
        self._renderer = renderer
        self._text = self._new_span()
        self._passage_ids = request.prompt.passage_ids
        self._not_found_ids = not_found_ids
        self._has_answered = False

    def _new_span(self) -> TextStream:
        tokenizer, roles = self._renderer.tokenizer, self._renderer.roles
        return TextStream(tokenizer, roles, self.request.sampling.stop)

    @property
    def has_event(self) -> bool:
        """Whether the consumer has not had all events so far."""
        return self._num_consumed < len(self.events)

    def next_event(self) -> Event:
        """The first event that the consumer has not had."""
        event = self.events[self._num_consumed]
        self._num_consumed += 1
        return event

    @property
    def has_finished(self) -> bool:
        """Whether the last event is here."""
        return bool(self.events) and isinstance(self.events[-1], Finished)

    @property
    def awaits_answer(self) -> bool:
        """Whether this request has a query that no retrieval has answered yet."""
        return self.query is not None and self.is_wanted and not self.has_finished

    @property
    def has_stopped(self) -> bool:
        """Whether a stop string ends this request, which the engine does not know yet."""
        return self._text.stopped and not self.has_finished

    @property
    def not_found_ids(self) -> tuple[int, ...]:
        """The answer to write where a search finds nothing; () once another one has begun."""
        return () if self._has_answered or self._is_in_answer else self._not_found_ids

    @property
    def _is_in_answer(self) -> bool:
        return self._renderer.template.frame_state(self._text.text) != "none"

    def has_asked(self, query: Query) -> bool:
        """Whether the answer has searched for the text of `query` before."""
        return any(
            event.text == query.text and event.hop < query.hop
            for event in self.events
            if isinstance(event, RetrievalRequested)
        )

    def take(self, events: Sequence[Event]) -> None:
        """Queue adjacent events of this request, in order; nothing comes after the last one."""
        if self.begun_at is None:
            self.begun_at = perf_counter()
        if self.has_finished:
            return
        for event, after in zip(events, (*events[1:], None), strict=False):
            self.events.append(self._complete(event, ends=isinstance(after, Finished)))

    def _complete(self, event: Event, *, ends: bool) -> Event:
        if isinstance(event, Token):
            text = self._text.push(event.token_id)
            # What is held back has no later token to come with.
            return replace(event, text=text + self._text.flush() if ends else text)
        if isinstance(event, RetrievalRequested):
            self.query = self._form_query(event)
            return replace(event, text=self.query.text)
        if isinstance(event, PassagesInserted):
            self._passage_ids += held_ids(scored.passage for scored in event.passages)
            self._has_answered = self._has_answered or self._is_in_answer
            self._text = self._new_span()
        return event

    def _form_query(self, event: RetrievalRequested) -> Query:
        question = self.request.prompt.question
        retrieval = self.request.retrieval
        return Query(
            event.query_embedding,
            self._renderer.template.query_text(self._text.text) or question,
            retrieval.top_k,
            retrieval.filter,
            self._passage_ids,
            question,
            event.hop,
        )
