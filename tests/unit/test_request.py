"""The state machine of a request: every transition, and what always holds."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onegen_model.errors import ProtocolError
from onegen_model.events import (
    Event,
    Finished,
    FinishReason,
    PassagesInserted,
    RetrievalRequested,
    Token,
)
from onegen_model.inputs import EmptySearch, Prompt
from onegen_model.request import TRANSITIONS, Request, State
from tests.support.toy_requests import (
    CONTROL,
    EMBEDDING,
    END,
    QUERY,
    START,
    STOP,
    ask,
    awaiting,
    candidate,
    insert,
    make,
    read,
    write,
)


def running() -> Request:
    return make()


def finished() -> Request:
    request = make()
    request.finish("cancelled")
    return request


# Attempts at each event, from a request in any state.
ATTEMPTS: dict[type[Event], Callable[[Request], object]] = {
    Token: lambda request: write(request, 5),
    RetrievalRequested: lambda request: ask(request) if request.unread else force_query(request),
    PassagesInserted: lambda request: request.insert([]),
    Finished: lambda request: request.finish("failed"),
}
MAKERS = {State.RUNNING: running, State.AWAITING_PASSAGES: awaiting, State.FINISHED: finished}


def force_query(request: Request) -> list[Event]:
    request.num_read = len(request.ids)
    return request.receive_query(EMBEDDING)


def test_the_table_names_every_state() -> None:
    assert set(TRANSITIONS) == set(State) == set(MAKERS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", ATTEMPTS)
def test_each_transition_is_in_the_table_or_refused(state: State, kind: type[Event]) -> None:
    request = MAKERS[state]()
    request.num_read = len(request.ids) if state is State.FINISHED else request.num_read
    assert request.state is state
    after = TRANSITIONS[state].get(kind)
    if after is None:
        usage = request.usage
        with pytest.raises(ProtocolError, match=r"request 0: .*; expected .*; "):
            ATTEMPTS[kind](request)
        assert (request.state, request.usage) == (state, usage)
    else:
        ATTEMPTS[kind](request)
        assert request.state is after


@pytest.mark.parametrize("reason", ["stop", "cancelled", "failed"])
@pytest.mark.parametrize("state", [State.RUNNING, State.AWAITING_PASSAGES])
def test_a_finished_request_stays_finished(state: State, reason: FinishReason) -> None:
    request = MAKERS[state]()
    event = request.finish(reason)
    assert (event.reason, event.usage) == (reason, request.usage)
    assert not request.unread
    with pytest.raises(ProtocolError, match="is not allowed while finished; expected nothing"):
        request.finish(reason)
    with pytest.raises(ProtocolError):
        request.insert([])


def test_a_whole_request() -> None:
    request = make()
    assert request.start() == []
    assert write(request, 5) == [Token(0, 5)]
    assert ask(request) == [RetrievalRequested(0, 0, EMBEDDING)]
    assert not request.unread
    inserted = insert(request, candidate("a", 5, 0.5), candidate("b", 4, 0.9))
    assert [one.passage.id for one in inserted.passages] == ["a", "b"]
    assert (inserted.hop, inserted.num_tokens, inserted.dropped) == (0, 9, 0)
    assert len(request.unread) == 9
    token, end = write(request, END)
    assert token == Token(0, END)
    assert isinstance(end, Finished)
    usage = end.usage
    assert end.reason == "end"
    assert (usage.prompt, usage.written, usage.inserted, usage.retrievals) == (3, 3, 9, 1)
    assert usage.forwarded + usage.reused == len(request.ids) - 1
    assert request.ids == [1, 1, 1, 5, QUERY, START, 2, 2, 2, STOP, START, 2, 2, STOP, END]


def test_reused_and_padded_positions_are_counted_apart() -> None:
    request = make(num_prompt=6)
    request.mark_reused(4)
    request.mark_forwarded(1, padded=3)
    request.mark_forwarded(1, padded=1)
    usage = request.usage
    assert (usage.reused, usage.forwarded, usage.padded) == (4, 2, 4)


@pytest.mark.parametrize("count", [-1, 4])
def test_only_unread_ids_can_be_read(count: int) -> None:
    request = make()
    with pytest.raises(ProtocolError, match="expected at most 3"):
        request.mark_forwarded(count)
    with pytest.raises(ProtocolError, match="expected at most 3"):
        request.mark_reused(count)


def test_nothing_is_predicted_before_all_is_read() -> None:
    request = make()
    request.mark_forwarded(2)
    with pytest.raises(ProtocolError, match="1 ids are unread"):
        request.receive_token(5)
    with pytest.raises(ProtocolError, match="1 ids are unread"):
        request.receive_query(EMBEDDING)


def test_the_prediction_at_the_query_token_is_discarded() -> None:
    request = make()
    write(request, QUERY)
    assert request.reads_query
    with pytest.raises(ProtocolError, match="1 ids are unread"):
        request.receive_query(EMBEDDING)
    read(request)
    with pytest.raises(ProtocolError, match="call receive_query"):
        request.receive_token(5)


def test_no_query_embedding_without_a_query_token() -> None:
    request = make()
    read(request)
    with pytest.raises(ProtocolError, match="without a query token"):
        request.receive_query(EMBEDDING)


def test_a_query_token_in_the_prompt_is_not_the_models_own() -> None:
    request = Request(0, Prompt([1, QUERY]), CONTROL, max_context=50)
    assert not request.reads_query
    assert write(request, 5) == [Token(0, 5)]


def test_after_a_failure_or_cancel_all_that_was_read_was_forwarded() -> None:
    request = make()
    write(request, 5)
    request.finish("cancelled")
    assert request.usage.forwarded == request.num_read == len(request.ids) - 1


class AnyEngine(RuleBasedStateMachine):
    """Whatever a correct engine and driver do, in any order."""

    @initialize(
        num_prompt=st.integers(1, 8),
        max_context=st.integers(14, 120),
        mode=st.sampled_from(["auto", "always", "never"]),
        max_new_tokens=st.integers(2, 30),
        max_retrievals=st.integers(1, 3),
    )
    def begin(self, **values: int) -> None:
        self.max_context = values["max_context"]
        self.request = make(**values)  # type: ignore[arg-type]
        self.events = self.request.start()
        self.has_ended_search = self.was_told = False

    @precondition(lambda self: len(self.request.unread) > 1)
    @rule(data=st.data(), reused=st.booleans())
    def read_some(self, data: st.DataObject, reused: bool) -> None:
        count = data.draw(st.integers(1, len(self.request.unread) - 1))
        (self.request.mark_reused if reused else self.request.mark_forwarded)(count)

    @precondition(lambda self: self.request.state is State.RUNNING)
    @rule(token_id=st.integers(0, STOP))
    def predict(self, token_id: int) -> None:
        read(self.request)
        if self.request.reads_query:
            self.events += self.request.receive_query(EMBEDDING)
        else:
            allowed = token_id if token_id not in self.request.masked else 0
            self.events += self.request.receive_token(allowed)

    @precondition(lambda self: self.request.state is State.RUNNING)
    @rule()
    def ask(self) -> None:
        if not self.request.reads_query and QUERY not in self.request.masked:
            self.events += write(self.request, QUERY)
        if self.request.reads_query and self.request.unread:
            read(self.request)
            self.events += self.request.receive_query(EMBEDDING)

    @precondition(lambda self: self.request.state is State.AWAITING_PASSAGES)
    @rule(found=st.lists(st.tuples(st.integers(3, 40), st.floats(-1, 1)), max_size=4))
    def insert(self, found: list[tuple[int, float]]) -> None:
        candidates = [candidate(str(i), *one) for i, one in enumerate(found)]
        event = insert(self.request, *candidates)
        kept = [item for item in candidates if item.scored in event.passages]
        lost = [item for item in candidates if item.scored not in event.passages]
        assert event.dropped == len(lost)
        assert all(low.scored.score <= high.scored.score for low in lost for high in kept)
        self.events.append(event)

    @precondition(lambda self: self.request.state is State.AWAITING_PASSAGES)
    @rule(
        reason=st.sampled_from(["", "why"]),
        ends=st.booleans(),
        ids=st.sampled_from([(), (5, END), (5,) * 9, (5,) * 40 + (END,)]),
    )
    def find_nothing(self, reason: str, ends: bool, ids: tuple[int, ...]) -> None:
        events = self.request.insert([], EmptySearch(reason, ends, ids))
        inserted, *written = events
        assert inserted == PassagesInserted(0, self.request.hop - 1, (), 2, 0, reason)
        tokens = [event for event in written if isinstance(event, Token)]
        assert tokens == [Token(0, one, forced=True) for one in ids][: len(tokens)]
        if len(tokens) < len(ids):
            assert isinstance(end := written[-1], Finished)
            assert end.reason == "length"
        self.events += events
        self.has_ended_search = self.has_ended_search or ends
        self.was_told = self.was_told or bool(ids)

    @precondition(lambda self: self.request.state is State.FINISHED)
    @rule()
    def rest(self) -> None:
        assert not self.request.unread

    @precondition(lambda self: self.request.state is not State.FINISHED)
    @rule(reason=st.sampled_from(["stop", "cancelled", "failed"]), often=st.integers(0, 9))
    def finish(self, reason: FinishReason, often: int) -> None:
        if often == 0:
            self.events.append(self.request.finish(reason))

    @invariant()
    def the_counters_agree(self) -> None:
        request, usage = self.request, self.request.usage
        assert usage.prompt + usage.written + usage.inserted == len(request.ids) <= self.max_context
        assert usage.forwarded + usage.reused == request.num_read <= len(request.ids)
        assert usage.written <= request.sampling.max_new_tokens
        assert usage.retrievals <= request.retrieval.max_retrievals
        if self.events and isinstance(end := self.events[-1], Finished):
            assert end.usage == usage
            if end.reason in ("end", "length") and not self.was_told:
                assert usage.forwarded + usage.reused == len(request.ids) - 1

    @invariant()
    def an_ended_search_stays_ended(self) -> None:
        assert not self.has_ended_search or QUERY in self.request.masked
        reasons = [one.reason for one in self.events if isinstance(one, PassagesInserted)]
        assert self.request.usage.empty_retrievals == len([*filter(None, reasons)])

    @invariant()
    def the_events_tell_the_ids(self) -> None:
        tokens = [event for event in self.events if isinstance(event, Token)]
        inserted = [event for event in self.events if isinstance(event, PassagesInserted)]
        assert len(tokens) == self.request.usage.written
        assert sum(event.num_tokens for event in inserted) == self.request.usage.inserted
        state = State.RUNNING
        for event in self.events:
            state = TRANSITIONS[state][type(event)]
        assert state is self.request.state

    @invariant()
    def a_running_request_can_go_on(self) -> None:
        if self.request.state is State.RUNNING:
            assert self.request.unread
            assert len(self.request.ids) < self.max_context
        else:
            assert not self.request.unread


TestAnyEngine = AnyEngine.TestCase
TestAnyEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
