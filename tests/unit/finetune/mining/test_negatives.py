"""Rules for hard negatives, and their selection from the ranked candidates."""

import random
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage, ScoredPassage
from onegen_model.finetune.data.collator import content_key
from onegen_model.finetune.mining.negatives import (
    MiningSettings,
    QueryLabels,
    Selection,
    holds_answer,
    select_negatives,
)

RANKED = [ScoredPassage(Passage(str(n), f"text {n}"), 1 - n / 10) for n in range(1, 9)]
NONE_KNOWN = QueryLabels(frozenset(), 10.0)


def select(known: QueryLabels = NONE_KNOWN, **settings: Any) -> Selection:
    chosen = MiningSettings(**{"num_negatives": 3, "range_min": 1, "range_max": 8, **settings})
    return select_negatives(RANKED, known, chosen, random.Random(0))


def ids(selection: Selection) -> list[str]:
    return [passage.id for passage in selection.passages]


def test_the_best_of_the_ranks_are_taken() -> None:
    assert ids(select()) == ["1", "2", "3"]
    assert ids(select(range_min=3)) == ["3", "4", "5"]
    assert ids(select(range_min=4, range_max=5, num_negatives=2)) == ["4", "5"]


def test_a_positive_is_recognised_by_its_content() -> None:
    known = QueryLabels(frozenset({content_key(Passage("another id", "text 2"))}), 10.0)
    assert ids(select(known)) == ["1", "3", "4"]
    assert ids(select(known, range_min=2)) == ["3", "4", "5"], "it holds a rank all the same"


def test_the_same_content_is_taken_once() -> None:
    ranked = [ScoredPassage(Passage(name, "text"), 0.5) for name in "ab"]
    settings = MiningSettings(num_negatives=2, range_min=1)
    assert len(select_negatives(ranked, NONE_KNOWN, settings, random.Random(0)).passages) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"relative_margin": 0.05}, ["3", "4", "5"]),  # 0.8 * 0.95 = 0.76
        ({"relative_margin": 0.2}, ["4", "5", "6"]),
        ({"relative_margin": None, "absolute_margin": 0.15}, ["4", "5", "6"]),
        ({"relative_margin": None, "max_score": 0.45}, ["6", "7", "8"]),
        ({"relative_margin": 0.05, "max_score": 0.45}, ["6", "7", "8"]),
        ({"relative_margin": None}, ["1", "2", "3"]),
    ],
)
def test_what_scores_too_near_a_positive_is_left_out(
    settings: dict[str, Any], expected: list[str]
) -> None:
    selection = select(QueryLabels(frozenset(), 0.8), **settings)
    assert ids(selection) == expected
    assert selection.scoring_high == int(expected[0]) - 1


def test_a_margin_below_a_negative_score_is_still_below_it() -> None:
    assert MiningSettings(relative_margin=0.1).highest_score(-0.5) == pytest.approx(-0.55)


def test_a_passage_with_the_answer_is_left_out_unless_wanted() -> None:
    known = QueryLabels(frozenset(), 10.0, ("Text 1!", "text  3"))
    selection = select(known)
    assert ids(selection) == ["2", "4", "5"]
    assert (selection.holding_answer, selection.scoring_high) == (2, 0)
    assert ids(select(known, keep_answers=True)) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("answer", "text", "held"),
    [
        ("May 5, 1988", "born MAY 5 1988 in", True),
        ("art", "a party", False),
        ("Jørn Tolvær", "by jørn tolvær.", True),
        ("no", "there is no such thing", False),
        ("北京", "首都是北京。", True),
        ("H\uff12O", "h2o", True),
        ("", "anything", False),
        ("?!", "anything", False),
    ],
)
def test_answers_are_found_as_whole_words(answer: str, text: str, held: bool) -> None:
    assert holds_answer(Passage("p", text), answer) == held


def test_an_answer_in_the_title_counts() -> None:
    assert holds_answer(Passage("p", "A painter.", "Ada Wrenfield"), "Ada Wrenfield")


def test_random_sampling_is_repeatable_and_keeps_the_order() -> None:
    settings = MiningSettings(num_negatives=3, range_min=1, sampling_strategy="random")
    drawn = [
        select_negatives(RANKED, NONE_KNOWN, settings, random.Random(seed)) for seed in range(20)
    ]
    again = select_negatives(RANKED, NONE_KNOWN, settings, random.Random(7))
    assert ids(again) == ids(drawn[7])
    assert all(ids(one) == sorted(ids(one)) and len(set(ids(one))) == 3 for one in drawn)
    assert len({tuple(ids(one)) for one in drawn}) > 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_negatives": 0}, "num_negatives=0; expected at least 1"),
        ({"range_min": 0}, "Ranks 0 to 30"),
        ({"range_min": 5, "range_max": 4}, "Ranks 5 to 4"),
        ({"num_negatives": 4, "range_max": 4}, "4 negatives of ranks 2 to 4"),
        ({"relative_margin": -0.1}, "relative_margin=-0.1; expected 0 or more"),
        ({"absolute_margin": float("nan")}, "absolute_margin=nan"),
        ({"max_score": float("nan")}, "max_score is not a number"),
        ({"sampling_strategy": "best"}, "expected one of top, random"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        MiningSettings(**settings)
