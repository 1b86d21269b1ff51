"""The list of sources below an answer."""

import io
from pathlib import Path
from typing import Any

import pytest

from onegen_model import Passage, PassagePlace, ScoredPassage
from onegen_model.cli.display import TextDisplay
from onegen_model.cli.sources import SourceListing, format_sources, has_links
from tests.support.fake_model import FakeAnswer, FakeRetrieval


def found(text: str = "It opens at nine.\nIt closes at five.", **values: Any) -> ScoredPassage:
    place = PassagePlace("docs/notes.md", "docs/notes.md", 2, 5, **values)
    return ScoredPassage(Passage(place.passage_id, text, "Office", place.to_metadata()), 0.8125)


PLACED = {"lines": (10, 14), "span": (200, 320)}


def test_a_source_is_title_file_place_and_characters() -> None:
    hits = [found(**PLACED), ScoredPassage(Passage("b", "text"), 0.5), found(**PLACED)]
    assert format_sources(hits) == [
        "Sources:",
        "  Office [docs/notes.md, lines 10-14, characters 200-320]",
        "  [b]",
    ]


def test_full_sources_show_score_and_text() -> None:
    assert format_sources([found(**PLACED)], SourceListing("full")) == [
        "Sources:",
        "  0.812  Office [docs/notes.md, lines 10-14, characters 200-320]",
        "    It opens at nine.",
        "    It closes at five.",
    ]
    assert format_sources([found()], SourceListing("none")) == []
    assert format_sources([], SourceListing("full")) == ["Sources: none, nothing was retrieved"]


def test_a_file_that_exists_is_a_link(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "notes.md"
    listing = SourceListing(root=tmp_path, links=True)
    assert "\x1b" not in "".join(format_sources([found(**PLACED)], listing))
    file.parent.mkdir()
    file.write_text("text")
    _, line = format_sources([found(lines=(10, 14))], listing)
    link = f"\x1b]8;;{file.as_uri()}\x1b\\docs/notes.md, lines 10-14\x1b]8;;\x1b\\"
    assert line == f"  Office [{link}]"
    assert "\x1b" not in "".join(format_sources([found()], SourceListing(root=tmp_path)))


def test_control_characters_of_a_document_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = ScoredPassage(Passage("x\x1b]0;", "\x1b[2Jtext\r\x07", "title\x1b]8;;http://x\x07"), 0.5)
    broken = ScoredPassage(Passage("x\ny", "text", "two\nlines"), 0.5)
    assert format_sources([broken])[1:] == ["  two lines [x y]"]
    answer: Any = FakeAnswer("q", None, retrievals=[FakeRetrieval(0, "q", (evil,))])
    out = io.StringIO()
    listing = SourceListing("full", tmp_path, links=True)
    TextDisplay(out, sources=listing).answer(answer, 1.0)
    assert not set(out.getvalue()) & set("\x1b\x07\r\x9b")
    assert "    [2Jtext" in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


KITTY = {"TERM": "xterm-kitty"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (KITTY, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7200"}, True),
        ({"TERM": "xterm-256color", "WT_SESSION": "x"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4800"}, False),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({**KITTY, "NO_COLOR": "1"}, False),
        ({**KITTY, "CI": "true"}, False),
        ({"TERM": "dumb", "WT_SESSION": "x"}, False),
        ({"TERM": "tmux-256color", "WT_SESSION": "x"}, False),
        ({}, False),
    ],
)
def test_links_are_for_terminals_that_are_known_to_show_them(
    environment: dict[str, str], expected: bool
) -> None:
    assert has_links(Terminal(), environment) is expected
    assert not has_links(io.StringIO(), environment)
