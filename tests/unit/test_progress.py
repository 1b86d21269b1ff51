"""What long work shows: a bar in a terminal, a line now and then without one, or nothing."""

import sys

import pytest

from onegen_model import progress
from onegen_model.progress import duration, show_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_about_every_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with show_progress(80, "Indexing", "passage", None) as shown:
        for _ in range(80):
            clock[0] += 0.5
            shown.update(1)
    assert capsys.readouterr().err.splitlines() == [
        "Indexing: 20 of 80 passages, about 30 seconds left",
        "Indexing: 40 of 80 passages, about 20 seconds left",
        "Indexing: 60 of 80 passages, about 10 seconds left",
        "Indexing: 80 of 80 passages, about a second left",
    ]


def test_work_of_seconds_and_hidden_work_say_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for shown, wait in ((None, 9.0), (False, 100.0)):
        with show_progress(2, "Indexing", "passage", shown) as steps:
            clock[0] += wait
            steps.update(1)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress(2, "Indexing", "passage", None) as steps:
        steps.update(2)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "a second"), (30, "30 seconds"), (600, "10 minutes"), (9000, "2.5 hours")],
)
def test_durations_are_words(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
