"""One request's events on their way to its consumer: text is added and queries are formed here."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from onegen_model.events import (
    Event,
    Finished,
    PassagesInserted,
    Query,
    RetrievalRequested,
    Token,
)
from onegen_model.request import Request, State
from onegen_model.retrieval.protocol import AnyRetriever
from onegen_model.transcript.detokenizer import TextStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Consumer = Literal["thread", "task"]


class EventStream:
    """Not thread-safe in `take`; `events` may be popped by the consumer meanwhile."""

    def __init__(
        self,
        request: Request,
        question: str,
        retriever: AnyRetriever | None,
        tokenizer: "PreTrainedTokenizerBase",
        hidden: frozenset[int],
    ) -> None:
        self.request = request
        self.retriever = retriever
        self.events: deque[Event] = deque()
        self.query: Query | None = None
        self.error: Exception | None = None
        self.consumer: Consumer | None = None
        self.is_wanted = True
        self.has_finished = False
        self._question = question
        self._tokenizer = tokenizer
        self._hidden = hidden
        self._text = self._new_span()
        self._num_tokens = 0
        self._num_queries = 0
        self._passage_ids: tuple[str, ...] = ()

    def _new_span(self) -> TextStream:
        return TextStream(self._tokenizer, self._hidden, self.request.sampling.stop)

    @property
    def awaits_answer(self) -> bool:
        """Whether somebody still has to ask the retriever for this request."""
        return self.query is not None and self.is_wanted and not self.has_finished

    @property
    def has_stopped(self) -> bool:
        """Whether a stop string ends this request, which the engine does not know yet."""
        return self._text.stopped and self.request.state is not State.FINISHED

    @property
    def is_whole(self) -> bool:
        """Whether every event of the request has come through here."""
        usage = self.request.usage
        return (
            usage.written == self._num_tokens
            and usage.retrievals == self._num_queries
            and (self.request.state is State.FINISHED) == self.has_finished
        )

    def take(self, events: Sequence[Event]) -> None:
        """Queue adjacent events of this request, in order."""
        for event, after in zip(events, (*events[1:], None), strict=False):
            self.events.append(self._complete(event, ends=isinstance(after, Finished)))

    def _complete(self, event: Event, *, ends: bool) -> Event:
        if isinstance(event, Token):
            self._num_tokens += 1
            text = self._text.push(event.token_id)
            # What is held back has no later token to come with.
            return replace(event, text=text + self._text.flush() if ends else text)
        if isinstance(event, RetrievalRequested):
            self._num_queries += 1
            self.query = self._form_query(event)
            return replace(event, text=self.query.text)
        if isinstance(event, PassagesInserted):
            self._passage_ids += tuple(scored.passage.id for scored in event.passages)
            self._text = self._new_span()
        else:
            self.has_finished = True
        return event

    def _form_query(self, event: RetrievalRequested) -> Query:
        lines = [line.strip() for line in self._text.text.splitlines()]
        return Query(
            event.query_embedding,
            next((line for line in reversed(lines) if line), self._question),
            self.request.retrieval.top_k,
            self.request.retrieval.filter,
            self._passage_ids,
        )
