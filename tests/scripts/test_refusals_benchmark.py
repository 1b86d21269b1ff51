"""The benchmark of refusals: its questions, its curve, and the scores that it notes."""

from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.refusals import (
    QUESTIONS,
    Asked,
    Best,
    Question,
    best_point,
    curve,
    first,
    lowest,
    read,
    separation,
)
from onegen_model import Query
from onegen_model.errors import InvalidInputError
from tests.support.drivers import Answering, hit


def asked(answer: str, *scores: float) -> Asked:
    return Asked(Question("q?", (answer,) if answer else (), "kind"), scores, "It is A.", True)


def test_the_bundled_questions_are_of_both_kinds() -> None:
    questions = read(QUESTIONS)
    assert len(questions) == 40
    assert sum(question.is_answerable for question in questions) == 20


def test_the_questions_of_onegen_evaluate_are_read(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "a?", "answer": ["b", 6]}\n{"question": "c?", "answer": null}\n')
    first, second = read(path)
    assert (first.answers, first.type) == (("b", "6"), "answerable")
    assert (second.answers, second.type) == ((), "unanswerable")
    assert not replace(asked("6"), answer="16").is_right


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"question": "a?", "answer": []}\n', "expected a question and its answer"),
        ('{"answer": "b"}\n', "expected a question and its answer"),
        ('{"question": "a?", "answer": "b"}\n', "has questions of one kind"),
    ],
)
def test_questions_that_measure_nothing_are_refused(
    lines: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(lines)
    with pytest.raises(InvalidInputError, match=message):
        read(path)


def test_the_curve_counts_both_kinds() -> None:
    some = [asked("A", 0.9, 0.5), asked("A", 0.7), asked("", 0.3), asked("", 0.8), asked("")]
    at = {point["min_score"]: point for point in curve(some, first)}
    assert (at[0.4]["refused"], at[0.4]["falsely_refused"]) == (pytest.approx(1 / 3), 0)
    assert (at[0.84]["refused"], at[0.84]["falsely_refused"]) == (pytest.approx(2 / 3), 0.5)
    found = best_point(curve(some, lowest), 0.0)
    assert found is not None
    assert found["refused"] == pytest.approx(1 / 3)
    assert separation(some[:4], first) == 0.75
    assert some[0].is_right


def test_the_best_score_is_noted_whatever_is_excluded() -> None:
    inner = Answering(
        lambda queries: [[hit("a", 0.4)] if not one.exclude else [] for one in queries]
    )
    best = Best(inner)
    assert best.retrieve([Query(array("f", [1.0]), "q?", 2, exclude=("a",))]) == [[]]
    assert best.scores == [0.4]
