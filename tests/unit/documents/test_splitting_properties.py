"""What holds for every text: passages fit, nothing is lost, and no text takes quadratic time."""

import re
import time
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model import Passage
from onegen_model.documents.document import Document, Syntax
from onegen_model.documents.splitting import PassageSplitter
from onegen_model.places import PassagePlace, place_of
from tests.support.tokenizers import byte_level

FRAGMENTS = (
    *("# ", "## ", "### part", "#", "- ", "* ", "1. ", "  ", "    ", "\t", "> ", ">", "\n", "\n\n"),
    *("```\n", "````\n", "~~~\n", "| a | b |\n|---|---|\n", "| c |", "|", "\\|", "---\n", "===\n"),
    *("<div>\n", "<!-- ", "-->", "[x]: y\n", "[z](w)", "*", "_", "`", "\\", "\r\n", "\0", "\u2028"),
    *("word", "one two three. Four five six.", "é漢", "🙂", "e\u0301", "x" * 40, "&amp;"),
)
soup = st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join)
any_text = st.text(max_size=300)
titles = st.text(st.sampled_from("ab >é"), max_size=40)
_TOKENIZER = byte_level()


def count_bytes(text: str) -> int:
    return len(text.encode())


def count_merged(text: str) -> int:
    """Tokens that join across pieces: those of two parts do not add up."""
    return len(_TOKENIZER.encode(text).ids)


def document(text: str, title: str = "", syntax: Syntax = "markdown") -> Document:
    return Document("d", text, title, "d.md", "d.md", syntax=syntax, first_line=1)


def letters(text: str) -> Counter[str]:
    return Counter(filter(str.isalnum, text))


def place(passage: Passage) -> PassagePlace:
    found = place_of(passage)
    assert found is not None
    return found


def check_order(text: str, passages: list[Passage]) -> None:
    before = (0, 0)
    for number, passage in enumerate(passages):
        where = place(passage)
        assert (where.chunk, where.chunks) == (number, len(passages))
        assert where.span is not None
        assert where.lines is not None
        start, end = where.span
        assert before[0] <= start < end
        assert before[1] <= end
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        assert where.lines == (text.count("\n", 0, start) + 1, text.count("\n", 0, end) + 1)
        before = where.span


@settings(max_examples=400, deadline=None)
@given(text=soup | any_text, title=titles, longest=st.integers(24, 120), data=st.data())
def test_every_passage_fits_and_nothing_is_lost(
    text: str, title: str, longest: int, data: st.DataObject
) -> None:
    count = data.draw(st.sampled_from([count_bytes, count_merged]))
    syntax = data.draw(st.sampled_from(get_args(Syntax)))
    splitter = PassageSplitter(count, longest)
    passages = splitter.split(document(text, title, syntax))
    for passage in passages:
        assert count(passage.titled_text) <= longest
        assert passage.text == passage.text.rstrip()
        assert passage.text.strip("\n")
    kept = letters("".join(f"{passage.title}{passage.text}" for passage in passages))
    assert letters(text) <= kept
    check_order(text, passages)
    assert passages == splitter.split(document(text, title, syntax))


@settings(max_examples=200, deadline=None)
@given(text=soup, longest=st.integers(24, 90))
def test_the_span_holds_the_text_of_its_passage(text: str, longest: int) -> None:
    for passage in PassageSplitter(count_bytes, longest).split(document(text)):
        start, end = place(passage).span or (0, 0)
        # Repeated lines are those of a header or a fence, and the values of a row are named.
        inside = letters(text[start:end])
        added = letters(re.sub(r"\A\|.*\n\|.*\n|^\w+: ", "", passage.text, flags=re.MULTILINE))
        if "|" not in text:
            assert added == inside


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab .\n\té漢🙂"), max_size=400), title=titles)
def test_plain_text_keeps_every_character(text: str, title: str) -> None:
    passages = PassageSplitter(count_bytes, 24).split(document(text, title, "text"))
    for passage in passages:
        start, end = place(passage).span or (0, 0)
        assert text[start:end] == passage.text
    assert "".join("".join(p.text for p in passages).split()) == "".join(text.split())


def count_words(text: str) -> int:
    return len(text.split())


QUOTES = "".join(f"{'>' * depth} word\n\n" for depth in range(0, 1000, 10))
LISTS = "".join(f"{'  ' * depth}- word\n" for depth in range(1000))
LONG = {
    "line": "word " * 40_000,
    "line without spaces": "x" * 200_000,
    "headings": "# part\n\n" * 20_000,
    "sections": "# part\n\nword\n\n" * 5_000,
    "long sections": ("# part\n\n" + "word " * 60 + "\n\n") * 1_000,
    "quotes": QUOTES,
    "lists": LISTS,
    "items": "- word\n" * 10_000,
    "rows": "| a | b |\n|---|---|\n" + "| word | word |\n" * 5_000,
    "a wide row": "|a" * 1_000 + "|\n" + "|-" * 1_000 + "|\n" + "|word" * 1_000 + "|\n",
    "fences": "```\nword\n" * 10_000,
    "blank lines": "```\na\n" + "\n" * 100_000 + "b\n```\n",
    "brackets": "[" * 100_000 + "a",
    "definitions": "[a]: b\n" * 20_000,
    "emphasis": "# " + "*a_" * 30_000,
    "html": "<div>\n" * 20_000,
    "ticks": "a " + "`" * 100_000,
    "spaces": " " * 300_000 + "a",
}


@pytest.mark.parametrize("syntax", ["markdown", "code"])
@pytest.mark.parametrize("name", LONG)
def test_no_text_takes_quadratic_time(name: str, syntax: Syntax) -> None:
    started = time.process_time()
    passages = PassageSplitter(count_words, 40).split(document(LONG[name], "title", syntax))
    assert time.process_time() - started < 10
    assert passages
