"""The display of events and answers."""

import io
from array import array

import pytest

from onegen_model.cli.display import TextDisplay, format_usage, shorten, use_colour
from onegen_model.events import (
    Finished,
    Passage,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
)
from tests.support.fake_model import FakeAnswer


def test_control_characters_of_a_document_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    display = TextDisplay(out, colour=False, width=40)
    evil = ScoredPassage(Passage("x\x1b]0;", "\x1b[2Jtext\r\n" * 9, "title\x07"), 0.5)
    display.event(PassagesInserted(0, 0, (evil,), 5))
    display.event(Token(0, 1, text="\x9b2Ja\nb"))
    assert not set(out.getvalue()) & set("\x1b\x07\r\x9b")
    assert "0.500  title: [2Jtext" in out.getvalue()


def test_display_reports_what_went_wrong() -> None:
    out = io.StringIO()
    display = TextDisplay(out)
    display.event(RetrievalRequested(0, 1, array("f", [1.0]), "who?"))
    display.event(PassagesInserted(0, 1, (), 2))
    display.event(PassagesInserted(0, 1, (), 2, reason="Nothing was found."))
    display.event(PassagesInserted(0, 2, (), 2, dropped=1))
    display.event(Token(0, 1, text="half"))
    display.event(Finished(0, "length", Usage()))
    display.answer(FakeAnswer("q", None, reason="Nothing was found."), 1.25)  # type: ignore
    assert out.getvalue().splitlines()[:9] == [
        "  hop 1 searched: who?",
        "    nothing new was found",
        "    nothing was found",
        "    1 passage left out (the context is full)",
        "half",
        "(the answer was cut at its maximum length)",
        "Answer: (none)",
        "Nothing was found.",
        "Sources: none, nothing was retrieved",
    ]


def passages(*texts: str) -> PassagesInserted:
    found = (ScoredPassage(Passage(f"p{at}", text), 0.5) for at, text in enumerate(texts))
    return PassagesInserted(0, 0, tuple(found), 5)


def shown(display: TextDisplay, *written: str | PassagesInserted | RetrievalRequested) -> None:
    for at, one in enumerate(written):
        display.event(Token(0, at, text=one) if isinstance(one, str) else one)
    display.event(Finished(0, "end", Usage()))


def query(text: str) -> RetrievalRequested:
    return RetrievalRequested(0, 0, array("f", [1.0]), text)


def test_each_text_is_shown_once_and_no_markup() -> None:
    out = io.StringIO()
    display = TextDisplay(out)
    display.begin(searches=True)
    searches = ("Who made", " it?", query("Who made it?"), passages("Ada did."))
    shown(display, *searches, " Ada\n", "\n<FINAL", "-ANSWER> Ada", " Wren</FINAL-", "ANSWER>")
    answer = FakeAnswer("q", None, text="Ada Wren")
    display.answer(answer, 1.0)  # type: ignore[arg-type]
    assert out.getvalue().splitlines()[:6] == [
        "Who made it?",
        "  hop 0 searched",
        "    0.500  Ada did.",
        "Ada",
        "Answer: Ada Wren",
        "Sources: none, nothing was retrieved",
    ]


def test_text_behind_the_answer_begins_a_line() -> None:
    out = io.StringIO()
    display = TextDisplay(out)
    shown(display, "<FINAL-ANSWER>Ada</FINAL-ANSWER>", "She did.")
    display.answer(FakeAnswer("q", None, text="Ada"), 1.0)  # type: ignore[arg-type]
    assert out.getvalue().splitlines()[:3] == [
        "Answer: Ada",
        "She did.",
        "Sources: none, nothing was retrieved",
    ]


def test_an_answer_that_was_not_shown_is_shown_at_the_end() -> None:
    out = io.StringIO()
    display = TextDisplay(out)
    for _ in range(2):  # nothing stays from the answer before
        display.begin(searches=True)
        shown(display, "Who?", query("Who?"), passages(), "Ada\nWren")
        display.answer(FakeAnswer("q", None, text="Not found"), 1.0)  # type: ignore[arg-type]
    assert out.getvalue().count("Answer: Not found\n") == 2


def test_without_searches_the_text_itself_is_the_answer() -> None:
    out = io.StringIO()
    display = TextDisplay(out, colour=True)
    display.begin(searches=False)
    shown(display, " It is", " tall.\n", "And old.")
    display.answer(FakeAnswer("q", None, text="It is tall.\nAnd old."), 1.0)  # type: ignore[arg-type]
    assert out.getvalue().startswith("It is tall.\nAnd old.\nSources: none")


def test_steps_are_dim_and_the_answer_is_bold() -> None:
    out = io.StringIO()
    display = TextDisplay(out, colour=True)
    shown(display, "Who?", "<FINAL-ANSWER>Ada</FINAL-ANSWER>")
    assert out.getvalue() == "\x1b[2mWho?\x1b[0m\n\x1b[1mAnswer: \x1b[0m\x1b[1mAda\x1b[0m\n"


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert use_colour(Terminal())
    assert not use_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour(Terminal())


def test_small_forms() -> None:
    assert shorten("a  b\nc", 80) == "a b c"
    assert shorten("abcdef", 4) == "abc…"
    assert "1 retrieval;" in format_usage(Usage(retrievals=1), 0.0)
    assert "2 retrievals;" in format_usage(Usage(retrievals=2), 0.0)
