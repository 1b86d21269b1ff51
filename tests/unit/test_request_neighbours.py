"""Budgets and neighbours: what is left out first where the context has no room."""

from dataclasses import replace

from onegen_model.inputs import Candidate, fit_candidates
from tests.support.toy_requests import ask, candidate, insert, make


def test_neighbours_are_left_out_before_any_hit_is() -> None:
    def wide(name: str, score: float) -> Candidate:
        alone, pair = candidate(name, 10, score), candidate(name, 20, score)
        return replace(pair, narrower=(alone,))

    def lengths(room: int) -> list[tuple[str, int]]:
        kept = fit_candidates([wide("a", 0.5), wide("b", 0.9)], room)
        return [(one.scored.passage.id, len(one.ids)) for one in kept]

    assert lengths(40) == [("a", 20), ("b", 20)]
    assert lengths(39) == [("a", 10), ("b", 20)]
    assert lengths(29) == [("a", 10), ("b", 10)]
    assert lengths(19) == [("b", 10)]
    assert lengths(9) == []


def test_joined_hits_part_where_there_is_no_room_and_are_counted_as_two() -> None:
    request = make(max_context=100)
    ask(request)
    alone = (candidate("a", 12, 0.9), candidate("b", 12, 0.8))
    both = replace(candidate("a", 60, 0.9), narrower=alone)
    assert both.num_hits == 2
    event = insert(request, both)
    assert [one.passage.id for one in event.passages] == ["a", "b"]
    assert (event.num_tokens, event.dropped) == (24, 0)
    request = make(max_context=83)
    ask(request)
    event = insert(request, both)
    assert [one.passage.id for one in event.passages] == ["a"]
    assert event.dropped == request.usage.dropped_passages == 1
