"""One request as a sans-I/O state machine: no tensor, no text, no store.

Rules:
1. A query embedding exists only after the model has *read* the query token. What it predicts
   while reading it is discarded.
2. A token is *sampled*, *forced* or *inserted*. Sampled and forced tokens are *written*: they are
   events and count against `max_new_tokens`. Inserted tokens are neither.
3. Every budget is decided here and nowhere else.
4. After a failure or a cancel a request is finished for ever.
"""

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import TypeVar

from onegen_model.errors import ContextTooLongError, InvalidInputError, ProtocolError
from onegen_model.events import (
    Event,
    Finished,
    FinishReason,
    PassagesInserted,
    RetrievalRequested,
    Token,
    Usage,
)
from onegen_model.inputs import (
    Candidate,
    ControlIds,
    EmptySearch,
    Prompt,
    fit_candidates,
    require_budget,
)
from onegen_model.params import RetrievalParams, SamplingParams

E = TypeVar("E", bound=Event)

# Written tokens kept free when passages compete for the last of the context.
ANSWER_RESERVE = 64


class State(Enum):
    """State of a request; see `TRANSITIONS`."""

    RUNNING = "running"
    AWAITING_PASSAGES = "awaiting passages"
    FINISHED = "finished"


TRANSITIONS: Mapping[State, Mapping[type[Event], State]] = {
    State.RUNNING: {
        Token: State.RUNNING,
        RetrievalRequested: State.AWAITING_PASSAGES,
        Finished: State.FINISHED,
    },
    State.AWAITING_PASSAGES: {PassagesInserted: State.RUNNING, Finished: State.FINISHED},
    State.FINISHED: {},
}


class Request:
    """Ids, budgets, counters and state of one generation.

    An engine reads `unread`, reports with `mark_reused` and `mark_forwarded`, and then calls
    `receive_query` if `reads_query`, else `receive_token`. Every method that returns events has
    already applied them.
    """

    def __init__(
        self,
        request_id: int,
        prompt: Prompt,
        control: ControlIds,
        *,
        max_context: int,
        sampling: SamplingParams = SamplingParams(),  # noqa: B008 (frozen)
        retrieval: RetrievalParams = RetrievalParams(),  # noqa: B008 (frozen)
    ) -> None:
        if not prompt.ids:
            raise InvalidInputError("The prompt has no tokens; expected at least one; write one")
        if control.query in prompt.forced:
            require_budget(prompt, sampling, retrieval)
        self.id = request_id
        self.prompt = prompt
        self.sampling = sampling
        self.retrieval = retrieval
        self.max_context = max_context
        self.state = State.RUNNING
        self.error: Exception | None = None
        self.ids: list[int] = [*prompt.ids]
        self.num_read = 0
        self.usage = Usage(prompt=len(prompt.ids))
        self._control = control
        self._masked_with_query = control.masked | {control.query}
        self._query_position = -1
        self._has_ended_search = False
        self._forced = deque(prompt.forced)
        self._require_room()

    def _require_room(self) -> None:
        """One position stays free for the first written token, behind an inserted frame."""
        forced = list(self._forced)
        frames = len(self._control.empty_frame) * forced.count(self._control.query)
        room = self.max_context - 1 - len(forced) - frames
        if len(self.ids) > room:
            raise ContextTooLongError(
                f"The prompt has {len(self.ids)} tokens; expected at most {room} of a context of "
                f"{self.max_context}; shorten it"
            )

    @property
    def unread(self) -> Sequence[int]:
        """Ids the network has not computed yet. Empty while awaiting passages or finished."""
        return self.ids[self.num_read :] if self.state is State.RUNNING else ()

    @property
    def reads_query(self) -> bool:
        """Whether the last id is a query token that the model wrote."""
        return self._query_position == len(self.ids) - 1

    @property
    def masked(self) -> frozenset[int]:
        """Ids that may not be sampled next (rule 3)."""
        if self._may_retrieve():
            return self._control.masked
        return self._masked_with_query

    @property
    def hop(self) -> int:
        """The retrievals that the answer has made, those of its unfinished beginning included."""
        return self.prompt.retrievals + self.usage.retrievals

    def _can_retrieve(self) -> bool:
        return self.retrieval.mode != "never" and self.sampling.grammar is None

    def _may_retrieve(self) -> bool:
        room = self.max_context - len(self.ids) - 1 - len(self._control.empty_frame)
        has_budget = self.hop < self.retrieval.max_retrievals and room >= 1
        return self._can_retrieve() and has_budget and not self._has_ended_search

    def start(self) -> list[Event]:
        """Write what is forced right after the prompt. Call once, before anything is read."""
        return self._write_forced()

    def force(self, ids: Sequence[int]) -> None:
        """Have `ids` written next: behind the next event, and behind the passages of a query.

        Forced tokens count against `max_new_tokens`, and end the request as sampled ones do; so
        does a query token that may no longer be written. Ignored when it has finished.
        """
        if self._control.query in ids and not self._can_retrieve():
            raise InvalidInputError(
                f"request {self.id}: a forced query token without retrieval; expected a retriever, "
                'mode "auto" or "always", and no grammar; force other tokens'
            )
        self._forced.extend(ids)

    def _write_forced(self) -> list[Event]:
        events: list[Event] = []
        while self._forced and self.state is State.RUNNING and not self.reads_query:
            token_id = self._forced.popleft()
            if token_id == self._control.query and not self._may_retrieve():
                events.append(self.finish("length"))
            else:
                events += self._write(Token(self.id, token_id, forced=True))
        return events

    def mark_reused(self, count: int) -> None:
        """`count` ids were taken over from another request's cache."""
        self._read(count)
        self.usage = replace(self.usage, reused=self.usage.reused + count)

    def mark_forwarded(self, count: int, padded: int = 0) -> None:
        """`count` ids went through the network, beside `padded` positions without a token."""
        self._read(count)
        usage = self.usage
        self.usage = replace(usage, forwarded=usage.forwarded + count, padded=usage.padded + padded)

    def _read(self, count: int) -> None:
        if not 0 <= count <= len(self.ids) - self.num_read:
            raise ProtocolError(
                f"request {self.id}: {count} ids read; "
                f"expected at most {len(self.ids) - self.num_read}; read what `unread` holds"
            )
        self.num_read += count

    def receive_token(
        self, token_id: int, logprob: float | None = None, top: Sequence[tuple[int, float]] = ()
    ) -> list[Event]:
        """The engine sampled `token_id` from the logits at the last id; see `Token`."""
        self._require_all_read()
        if self.reads_query:
            raise ProtocolError(
                f"request {self.id}: a token predicted at the query token; expected a query "
                "embedding; call receive_query"
            )
        if token_id in self.masked:
            raise ProtocolError(
                f"request {self.id}: token {token_id} is masked; expected one outside `masked`; "
                "apply the mask before sampling"
            )
        sampled = Token(self.id, token_id, logprob=logprob, top_logprobs=tuple(top))
        return self._write(sampled) + self._write_forced()

    def _write(self, token: Token) -> list[Event]:
        events: list[Event] = [self._emit(token)]
        self.ids.append(token.token_id)
        self.usage = replace(self.usage, written=self.usage.written + 1)
        if token.token_id in self._control.end:
            events.append(self.finish("end"))
        elif (
            self.usage.written >= self.sampling.max_new_tokens or len(self.ids) >= self.max_context
        ):
            events.append(self.finish("length"))
        elif token.token_id == self._control.query:
            self._query_position = len(self.ids) - 1
        return events

    def receive_query(self, embedding: "array[float]") -> list[Event]:
        """The network's last hidden state at the query token, L2-normalised."""
        self._require_all_read()
        if not self.reads_query:
            raise ProtocolError(
                f"request {self.id}: a query embedding without a query token; expected "
                "`reads_query`; call receive_token"
            )
        event = self._emit(RetrievalRequested(self.id, self.hop, embedding))
        self.usage = replace(self.usage, retrievals=self.usage.retrievals + 1)
        return [event]

    def _require_all_read(self) -> None:
        if self.num_read != len(self.ids):
            raise ProtocolError(
                f"request {self.id}: {len(self.ids) - self.num_read} ids are unread; expected "
                "none; forward them first"
            )

    def insert(
        self, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> list[Event]:
        """Put passages behind the query token, in this order, whole or not at all.

        What does not fit is narrowed or dropped, see `fit_candidates`. With no candidate left an
        empty frame takes their place, because the prediction made at the query token is discarded.
        `empty` says what follows where the search itself brought nothing.
        """
        left = self.sampling.max_new_tokens - self.usage.written
        reserve = min(left, ANSWER_RESERVE)
        keep = fit_candidates(candidates, self.max_context - len(self.ids) - reserve)
        empty = empty if empty and not candidates else EmptySearch(ends=False)
        inserted = [i for item in keep for i in item.ids] or list(self._control.empty_frame)
        event = PassagesInserted(
            self.id,
            self.hop - 1,
            tuple(item.scored for item in keep),
            len(inserted),
            sum(item.num_hits for item in candidates) - sum(item.num_hits for item in keep),
            empty.reason,
        )
        self._emit(event)
        self.ids += inserted
        self.usage = replace(
            self.usage,
            inserted=self.usage.inserted + len(inserted),
            dropped_passages=self.usage.dropped_passages + event.dropped,
            empty_retrievals=self.usage.empty_retrievals + bool(empty.reason),
        )
        self._has_ended_search = self._has_ended_search or empty.ends
        if empty.ids:
            self._forced = deque(empty.ids)
        return [event, *self._write_forced()]

    def finish(self, reason: FinishReason) -> Finished:
        """End the request; raises ProtocolError when it is finished already."""
        event = Finished(self.id, reason, self.usage)
        self._emit(event)
        return event

    def fail(self, error: Exception) -> Finished:
        """End the request because of `error`, which its consumer sees."""
        event = self.finish("failed")
        self.error = error
        return event

    def _emit(self, event: E) -> E:
        plain: Event = event  # E as it stands has no type that mypy finds in the table.
        kind = type(plain)
        after = TRANSITIONS[self.state].get(kind)
        if after is None:
            allowed = ", ".join(one.__name__ for one in TRANSITIONS[self.state]) or "nothing"
            raise ProtocolError(
                f"request {self.id}: {kind.__name__} is not allowed while "
                f"{self.state.value}; expected {allowed}; see TRANSITIONS"
            )
        self.state = after
        return event
