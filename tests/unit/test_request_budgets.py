"""The budgets of a request: what they mask, what they end, and which passages fit."""

import pytest

from onegen_model.errors import ContextTooLongError, InvalidInputError, ProtocolError
from onegen_model.events import Finished, PassagesInserted, RetrievalRequested, Token
from onegen_model.inputs import EmptySearch, Prompt
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import ANSWER_RESERVE, Request
from onegen_model.transcript.grammar import Grammar
from tests.support.toy_requests import (
    CONTROL,
    EMBEDDING,
    END,
    FRAME,
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

# Budgets


def test_max_new_tokens_counts_written_tokens_only() -> None:
    request = make(max_new_tokens=3)
    ask(request)
    request.insert([candidate("a", 30, 1.0)])
    assert write(request, 5) == [Token(0, 5)]
    _, end = write(request, 5)
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.written, end.usage.inserted) == ("length", 3, 30)
    assert end.usage.forwarded == len(request.ids) - 1


def test_the_end_token_wins_over_the_length() -> None:
    end = write(make(max_new_tokens=1), END)[-1]
    assert isinstance(end, Finished)
    assert end.reason == "end"


def test_a_query_token_at_the_length_ends_the_request() -> None:
    end = write(make(max_new_tokens=1), QUERY)[-1]
    assert isinstance(end, Finished)
    assert end.reason == "length"


def test_the_context_ends_a_request() -> None:
    request = make(max_context=5)
    assert write(request, 5) == [Token(0, 5)]
    assert isinstance(write(request, 5)[-1], Finished)
    assert len(request.ids) == 5


def test_a_prompt_leaves_room_for_one_token() -> None:
    make(num_prompt=4, max_context=5)
    with pytest.raises(ContextTooLongError, match="5 tokens; expected at most 4 of a context of 5"):
        make(num_prompt=5, max_context=5)
    make(num_prompt=4, max_context=8, mode="always")
    with pytest.raises(ContextTooLongError, match="expected at most 4 of a context of 8"):
        make(num_prompt=5, max_context=8, mode="always")


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no tokens"):
        make(num_prompt=0)


def test_max_retrievals_masks_the_query_token() -> None:
    request = make(max_retrievals=2)
    for _ in range(2):
        assert QUERY not in request.masked
        ask(request)
        request.insert([])
    assert QUERY in request.masked
    read(request)
    with pytest.raises(ProtocolError, match=f"token {QUERY} is masked"):
        request.receive_token(QUERY)


def test_the_query_token_is_masked_without_retrieval() -> None:
    assert make(mode="never").masked == {QUERY, START, STOP}
    assert make(max_retrievals=0).masked == {QUERY, START, STOP}
    assert make().masked == {START, STOP}


@pytest.mark.parametrize("token_id", [START, STOP])
def test_control_tokens_are_never_written(token_id: int) -> None:
    with pytest.raises(ProtocolError, match="is masked"):
        write(make(), token_id)


def test_the_query_token_is_masked_without_room_for_what_follows() -> None:
    # Behind 3 ids: the query token, an empty frame of 2 and one written token.
    assert QUERY not in make(max_context=7).masked
    assert QUERY in make(max_context=6).masked
    request = make(max_context=7)
    ask(request)
    assert insert(request, candidate("a", 3, 1.0)).num_tokens == 2
    end = write(request, 5)[-1]
    assert isinstance(end, Finished)
    assert (end.reason, len(request.ids)) == ("length", 7)


def test_always_forces_a_query_token_behind_the_prompt() -> None:
    request = make(mode="always")
    assert request.start() == [Token(0, QUERY, forced=True)]
    assert request.start() == []
    read(request)
    assert request.reads_query
    request.receive_query(EMBEDDING)
    request.insert([])
    assert write(request, 5) == [Token(0, 5)]
    assert request.usage.written == 2
    assert QUERY not in request.masked


@pytest.mark.parametrize("budget", [{"max_retrievals": 0}, {"max_new_tokens": 1}])
def test_always_needs_a_budget(budget: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="expected at least 1 and 2"):
        make(mode="always", **budget)


def test_a_grammar_has_no_place_for_passages() -> None:
    sampling = SamplingParams(grammar=Grammar('start: "yes"'))
    request = Request(0, Prompt([1]), CONTROL, max_context=400, sampling=sampling)
    assert request.masked == {QUERY, START, STOP}
    with pytest.raises(InvalidInputError, match="under a grammar; expected"):
        Request(
            0,
            Prompt([1], forced=[QUERY]),
            CONTROL,
            max_context=400,
            sampling=sampling,
            retrieval=RetrievalParams(mode="always"),
        )


# Passages


def test_nothing_found_is_an_empty_frame() -> None:
    request = awaiting()
    event = insert(request)
    assert (event.passages, event.num_tokens, event.dropped) == ((), 2, 0)
    assert tuple(request.ids[-2:]) == FRAME


def test_passages_that_do_not_fit_go_whole_and_lowest_score_first() -> None:
    request = make(max_context=4 + ANSWER_RESERVE + 25)
    ask(request)
    event = insert(
        request, candidate("b", 10, 0.5), candidate("c", 10, 0.1), candidate("a", 10, 0.9)
    )
    assert [one.passage.id for one in event.passages] == ["b", "a"]
    assert (event.num_tokens, event.dropped, request.usage.dropped_passages) == (20, 1, 1)


def test_of_equal_scores_the_last_goes_first() -> None:
    request = make(max_context=4 + ANSWER_RESERVE + 25)
    ask(request)
    event = insert(request, *(candidate(name, 10, 0.0) for name in "abc"))
    assert [one.passage.id for one in event.passages] == ["a", "b"]


def test_the_reserve_is_no_larger_than_what_may_be_written() -> None:
    request = make(max_context=4 + 20 + 5, max_new_tokens=6)
    ask(request)
    assert insert(request, candidate("a", 20, 1.0)).num_tokens == 20
    request = make(max_context=4 + 20 + 5, max_new_tokens=7)
    ask(request)
    assert insert(request, candidate("a", 20, 1.0)).num_tokens == 2


def test_hops_count_from_zero() -> None:
    request = make()
    hops = []
    for _ in range(3):
        (event,) = ask(request)
        assert isinstance(event, RetrievalRequested)
        hops.append((event.hop, insert(request).hop))
    assert hops == [(0, 0), (1, 1), (2, 2)]


# Empty searches

WRITTEN = (5, 6, END)


def test_an_empty_search_ends_the_searching() -> None:
    request = awaiting()
    (event,) = request.insert([], EmptySearch("why"))
    assert event == PassagesInserted(0, 0, (), 2, 0, "why")
    assert QUERY in request.masked
    assert (request.usage.retrievals, request.usage.empty_retrievals) == (1, 1)


def test_a_failed_search_leaves_the_others_open() -> None:
    request = awaiting()
    request.insert([], EmptySearch("why", ends=False))
    assert QUERY not in request.masked
    assert request.usage.empty_retrievals == 1


def test_an_empty_search_writes_what_takes_the_place_of_an_answer() -> None:
    request = awaiting()
    request.force([7, QUERY])
    _, *tokens, end = request.insert([], EmptySearch("why", ids=WRITTEN))
    assert tokens == [Token(0, one, forced=True) for one in WRITTEN]
    assert isinstance(end, Finished)
    assert end.reason == "end"
    assert request.ids == [1, 1, 1, QUERY, *FRAME, *WRITTEN]
    assert (end.usage.written, end.usage.forwarded) == (1 + len(WRITTEN), 4)


@pytest.mark.parametrize("budget", [{"max_new_tokens": 3}, {"max_context": 8}])
def test_what_an_empty_search_writes_is_cut_at_the_length(budget: dict[str, int]) -> None:
    request = make(**budget)
    ask(request)
    *_, last, end = request.insert([], EmptySearch("why", ids=WRITTEN))
    assert last == Token(0, 6, forced=True)
    assert isinstance(end, Finished)
    assert end.reason == "length"


def test_passages_that_do_not_fit_were_found() -> None:
    request = make(max_context=4 + ANSWER_RESERVE + 25)
    ask(request)
    event, *others = request.insert([candidate("a", 30, 0.5)], EmptySearch("why", ids=WRITTEN))
    assert isinstance(event, PassagesInserted)
    assert (event.dropped, event.reason, others) == (1, "", [])
    assert QUERY not in request.masked


def test_a_query_token_forced_behind_an_empty_search_ends_the_request() -> None:
    request = awaiting()
    request.force([5, QUERY])
    _, _, end = request.insert([], EmptySearch("why"))
    assert isinstance(end, Finished)
    assert end.reason == "length"


# Forced tokens


def test_a_query_token_is_not_forced_where_nothing_is_retrieved() -> None:
    with pytest.raises(InvalidInputError, match="a forced query token without retrieval"):
        make(mode="never").force([5, QUERY])


def test_a_forced_query_token_beyond_the_retrievals_ends_the_request() -> None:
    request = make(max_retrievals=1)
    ask(request)
    request.force([5, QUERY, 6])
    _, token, end = request.insert([candidate("a", 5, 1.0)])
    assert (token, type(end)) == (Token(0, 5, forced=True), Finished)
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.retrievals) == ("length", 1)


def test_a_forced_query_token_leaves_room_for_an_empty_frame() -> None:
    request = make(max_context=8)
    write(request, 5)
    request.force([6, QUERY])
    end = write(request, 5)[-1]
    assert isinstance(end, Finished)
    assert end.reason == "length"
    assert len(request.ids) == 6


def test_what_is_forced_on_a_finished_request_is_ignored() -> None:
    request = make()
    request.finish("cancelled")
    request.force([5])
    assert request.ids == [1, 1, 1]
