"""Means with standard errors, rankings as scores, and tables."""

import pytest

from onegen_model.evaluation import GoldQuestion
from onegen_model.evaluation.ask.ranking import Ranking
from onegen_model.evaluation.score.cases import Case, Row
from onegen_model.evaluation.score.differences import score_differences
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.ranking_metrics import MAP, MRR, NDCG, rank_metrics
from onegen_model.evaluation.score.retrieval_scores import (
    all_recall,
    any_recall,
    fuse,
    hop_recall,
    score_rankings,
    support_recall,
)
from onegen_model.evaluation.score.table import markdown, table


def test_single_cases_have_the_binomial_error() -> None:
    share = Estimate.of([(1, 1), (0, 1), (0, 1), (1, 1)])
    assert (share.value, share.count) == (0.5, 4)
    assert share.standard_error == pytest.approx((0.5 * 0.5 / 4) ** 0.5)


def test_cases_of_one_question_are_not_independent() -> None:
    two = Estimate.of([(2, 2), (0, 2)]).standard_error
    four = Estimate.of([(1, 1), (0, 1)] * 2).standard_error
    assert two is not None
    assert four is not None
    assert two > four


def test_one_group_has_no_error_and_no_group_has_no_value() -> None:
    assert str(Estimate.of([(1, 2), (0, 0)])) == "0.50"
    assert str(Estimate.of([])) == "-"
    assert f"{Estimate.largest([3, 7.6]):.0f}" == "8"


def test_a_table_is_markdown() -> None:
    share = Estimate(0.25, 0.1, 4)
    assert markdown(("a", "b"), [("x", share)]) == "| a | b |\n| --- | --: |\n| x | 0.25 ±0.10 |"
    rows = {"x|y": {"EM": share}, "z": {"forwarded": Estimate(3.4, None, 1)}}
    assert table("run", rows).splitlines()[2:] == [
        "| x\\|y | 0.25 ±0.10 | - |",
        "| z | - | 3 |",
    ]


def case(*hops: tuple[str, ...], name: str = "q") -> Case:
    question = GoldQuestion(name, "2wiki", "comparison", "Who?", ("A",), ("p1", "p2"), ("p1", "p2"))
    return Case(question, None, Ranking("q", "bm25", "span", hops))


def test_a_hop_without_a_query_is_missed() -> None:
    cases = [case(("p1", "p2")), case(("p3", "p1"), ("p2",))]
    assert hop_recall(cases, 1).value == 0.5
    assert hop_recall(cases, 5).value == 0.75
    assert hop_recall(cases, 5, lambda hop, _: hop == 1).value == 0.5
    assert support_recall(cases, 5).value == 1
    assert all_recall(cases, 1).value == 0
    assert all_recall(cases, 2).value == 1
    assert all_recall(cases, 1, hop=0).value == 0.5
    assert any_recall(cases, 0, 1).value == 0.5
    assert any_recall(cases, 1, 1).value == 0.5


def test_retrievals_of_a_question_are_fused_rank_by_rank() -> None:
    assert fuse([("a", "b"), ("c", "a", "d"), ()]) == ["a", "c", "b", "d"]
    assert len(fuse([tuple(map(str, range(30)))])) == 10


def test_ranking_metrics_are_those_of_their_definitions() -> None:
    found = rank_metrics(
        {"one": ({"a", "b"}, ["x", "a", "y", "b"]), "none": ({"a"}, []), "miss": ({"a"}, ["b"])}
    )
    assert found["one"][MRR] == pytest.approx(1 / 2)
    assert found["one"][MAP] == pytest.approx((1 / 2 + 2 / 4) / 2)
    gains = 1 / 1.584962500721156 + 1 / 2.321928094887362
    assert found["one"][NDCG] == pytest.approx(gains / (1 + 1 / 1.584962500721156))
    assert set(found["none"].values()) == set(found["miss"].values()) == {0.0}


def test_a_case_without_any_retrieval_counts_as_missed() -> None:
    columns = score_rankings([case(), case(("p1",), ("p2",))])
    assert columns["recall@1"].value == 0.5
    assert columns[MAP].value == 0.5
    assert score_rankings([]) == {}


def test_a_difference_is_taken_question_by_question() -> None:
    none, one, both = (), (("p1",), ()), (("p1",), ("p2",))
    first = Row("a", [case(*none, name="q"), case(*one, name="r"), case(*one, name="s")])
    other = Row("b", [case(*both, name="s"), case(*one, name="q"), case(*both, name="r")])
    found = score_differences([first, other])
    # Each question has one hop more: nothing is left to be uncertain of.
    assert {name: columns["recall@1"] for name, columns in found.items()} == {
        "b": Estimate(0.5, 0.0, 6),
        "b, hop 1": Estimate(1 / 3, pytest.approx((2 / 9 / 3) ** 0.5), 3),
        "b, hop 2": Estimate(2 / 3, pytest.approx((2 / 9 / 3) ** 0.5), 3),
    }
    assert score_differences([first]) == {}
    assert score_differences([]) == {}


def test_a_question_of_one_hop_counts_among_first_hops_where_others_have_more() -> None:
    question = GoldQuestion("one", "nq", "", "Who?", ("A",), ("p1",), ("p1",))
    single = [
        Case(question, None, Ranking("one", "own", "span", hops)) for hops in ((), (("p1",),))
    ]
    mixed = score_differences([Row("a", [single[0], case()]), Row("b", [single[1], case()])])
    assert mixed["b, hop 1"]["recall@1"].value == 0.5
    assert mixed["b, hop 2"]["recall@1"].count == 1
    alone = score_differences([Row("a", [single[0]]), Row("b", [single[1]])])
    assert list(alone) == ["b"]


def test_a_question_of_one_row_alone_is_no_difference() -> None:
    found = score_differences([Row("a", [case()]), Row("b", [Case(case().question)])])
    assert found == {}
