"""What counts as found and as linked, with values by hand."""

import pytest

from onegen_model.evaluation.linking.counts import (
    count_entities,
    count_found,
    count_listed,
    difference,
    found_quality,
    linked_quality,
    matched,
    mean,
)
from onegen_model.evaluation.linking.documents import GoldMention, LinkingDocument
from onegen_model.evaluation.linking.predictions import Hit, Prediction
from onegen_model.evaluation.score.estimate import Estimate

ONE = LinkingDocument(
    "one",
    "x" * 50,
    (GoldMention(0, 5, "Q1"), GoldMention(10, 15, "Q9"), GoldMention(20, 25, "Q2")),
)
TWO = LinkingDocument("two", "x" * 50, (GoldMention(0, 4, "Q1"),))
# One exact mention, one that overlaps, one that is wrong; the second text has nothing.
FOUND = {
    "one": Prediction(
        "one",
        ((0, 5), (11, 15), (30, 35)),
        ((Hit("Q1", 0.9), Hit("Q2", 0.1)), (Hit("Q1", 0.4),), ()),
    ),
    "two": Prediction("two", (), ()),
}
# All spans of the first text are right; its second entity is not in the list.
LINKED = {
    "one": Prediction(
        "one",
        ((0, 5), (10, 15), (20, 25), (30, 35)),
        ((Hit("Q1", 0.9),), (Hit("Q1", 0.9),), (Hit("Q1", 0.5),), (Hit("Q2", 0.7),)),
    ),
    "two": Prediction("two", ((0, 4),), ((Hit("Q1", 0.2),),)),
}
KNOWN = {"Q1", "Q2"}


def of(estimate: Estimate) -> tuple[float, float | None]:
    error = estimate.standard_error
    return round(estimate.value, 4), None if error is None else round(error, 4)


def test_precision_recall_and_f1_of_exact_mentions() -> None:
    exact = found_quality([ONE, TWO], FOUND)
    assert of(mean(exact.precision)) == (round(1 / 3, 4), None)  # one text has mentions
    # (1 - 3/4)² + (0 - 1/4)², through the 4 mentions.
    assert of(mean(exact.recall)) == (0.25, round((1 / 8) ** 0.5 / 4, 4))
    assert mean(exact.f1).value == pytest.approx(2 / 7)


def test_a_part_of_a_mention_is_found_as_overlapping() -> None:
    partly = found_quality([ONE, TWO], FOUND, overlapping=True)
    assert mean(partly.precision).value == pytest.approx(2 / 3)
    assert mean(partly.recall).value == pytest.approx(2 / 4)
    assert mean(partly.f1).value == pytest.approx(4 / 7)


def test_each_mention_is_matched_once() -> None:
    assert matched([(0, 9)], [(0, 3), (4, 9)]) == {(0, 9): (0, 3)}
    assert matched([(0, 3), (4, 9)], [(2, 6)]) == {(0, 3): (2, 6)}
    assert matched([(0, 3), (4, 9)], [(2, 5), (7, 8)]) == {(0, 3): (2, 5), (4, 9): (7, 8)}
    assert matched([(0, 3), (3, 6)], [(3, 6)]) == {(3, 6): (3, 6)}
    assert matched([(0, 3)], [(3, 6)]) == {}


def test_links_count_where_the_entity_is_in_the_list() -> None:
    linked = linked_quality([ONE, TWO], LINKED, KNOWN)
    # The link at (10, 15) is neither right nor wrong; those at 20 and 30 are wrong.
    assert linked.precision == {"one": (1, 3), "two": (1, 1)}
    assert linked.recall == {"one": (1, 2), "two": (1, 1)}
    assert linked.f1 == {"one": (2, 5), "two": (2, 2)}
    assert mean(linked.f1).value == pytest.approx(4 / 7)


def test_a_score_below_the_nil_threshold_is_no_link() -> None:
    linked = linked_quality([ONE, TWO], LINKED, KNOWN, 0.6)
    assert linked.precision == {"one": (1, 2), "two": (0, 0)}
    assert linked.recall == {"one": (1, 2), "two": (0, 1)}


def test_wanted_mentions_are_counted_alone() -> None:
    def has_name(_: LinkingDocument, mention: GoldMention) -> bool:
        return mention.entity_id == "Q1"

    assert count_entities([ONE, TWO], LINKED, has_name) == {"one": (1, 1), "two": (1, 1)}
    assert count_entities([ONE, TWO], LINKED, has_name, 0.5) == {"one": (1, 1), "two": (0, 1)}
    assert count_found([ONE, TWO], FOUND, lambda *_: True) == {"one": (1, 3), "two": (0, 1)}
    assert count_found([ONE, TWO], FOUND, lambda *_: True, overlapping=True)["one"] == (2, 3)


def test_an_entity_may_be_listed_and_not_be_the_best() -> None:
    second = {"one": Prediction("one", ((0, 5), (20, 25)), ((Hit("Q2", 0.9), Hit("Q1", 0.8)), ()))}
    assert count_listed([ONE], second, lambda *_: True) == {"one": (1, 3)}
    assert count_entities([ONE], second, lambda *_: True) == {"one": (0, 3)}


def test_a_difference_is_paired() -> None:
    first, other = {"a": (1.0, 2.0), "b": (1.0, 1.0)}, {"a": (0.0, 2.0), "b": (1.0, 1.0)}
    # Of the same mentions: the mean of their differences, by text 1 of 2 and 0 of 1.
    assert of(difference(first, other)) == of(Estimate.of([(1, 2), (0, 1)]))
    assert of(difference(first, first)) == (0, 0)
    # Of quotients with other denominators: 1/4 less 1/2, by hand.
    first, other = {"a": (1.0, 2.0), "b": (0.0, 2.0)}, {"a": (1.0, 1.0), "b": (0.0, 1.0)}
    by_hand = ((0.5 / 4 - 0.5 / 2) ** 2 + (-0.5 / 4 + 0.5 / 2) ** 2) ** 0.5
    assert of(difference(first, other)) == (-0.25, round(by_hand, 4))
