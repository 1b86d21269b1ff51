"""Answer metrics against cases worked out by hand."""

import pytest

from onegen_model.evaluation.score.answer_metrics import (
    exact_match,
    f1,
    normalise_answer,
    substring_match,
)


def test_normalisation() -> None:
    assert normalise_answer(" The  U.S., an  Old-Land! ") == "us oldland"


@pytest.mark.parametrize(
    ("answer", "gold", "same", "score"),
    [
        ("The Half-Way Girl", "the half-way girl.", True, 1.0),
        ("in Rome, Italy", "Rome", False, 0.5),
        ("yes", "yes", True, 1.0),
        ("yes indeed", "yes", False, 0.0),
        ("no", "yes", False, 0.0),
        ("", "Rome", False, 0.0),
        ("a b b", "b b c", False, 2 * (1.0 * 2 / 3) / (1.0 + 2 / 3)),
    ],
)
def test_exact_match_and_f1(answer: str, gold: str, same: bool, score: float) -> None:
    assert exact_match(answer, gold) is same
    assert f1(answer, gold) == pytest.approx(score)


def test_a_substring_is_looked_for_after_normalisation() -> None:
    assert substring_match("It is the Red House, in Oslo.", "red house")
    assert not substring_match("red", "red house")
    assert not substring_match("anything", "the")  # nothing is left to look for
