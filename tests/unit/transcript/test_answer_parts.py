"""Steps and answer are separated while the text streams."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model import AnswerText, PartStream, StepText
from onegen_model.transcript.template import Template

TEMPLATE = Template()
MARKS = {"<FINAL-ANSWER>", "</FINAL-ANSWER>"}
CUT_MARKS = [mark[:end] for mark in MARKS for end in range(len(mark) - 1, 1, -1)]
FRAMED = "By the sea\n<FINAL-ANSWER> Alba  in\nBor </FINAL-ANSWER> done"


def sums(stream: PartStream, texts: list[str]) -> tuple[str, str]:
    parts = [part for text in texts for part in stream.feed(text)] + stream.end_span()
    steps = "".join(part.text for part in parts if isinstance(part, StepText))
    return steps, "".join(part.text for part in parts if isinstance(part, AnswerText))


@given(cuts=st.lists(st.integers(0, len(FRAMED))))
def test_the_cut_of_the_text_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(FRAMED)]
    texts = [FRAMED[start:end] for start, end in itertools.pairwise(edges)]
    stream = PartStream(TEMPLATE)
    assert sums(stream, texts) == ("By the sea\n done", "Alba  in\nBor")
    assert stream.answer == TEMPLATE.parse([FRAMED])[1]
    assert stream.has_frame


@given(st.text(alphabet="<FINAL-SWER/> ab\n"))
def test_text_without_markup_is_neither_lost_nor_changed(text: str) -> None:
    steps, answer = sums(PartStream(TEMPLATE), list(text))
    if not any(mark in text for mark in MARKS):
        cut = max((mark for mark in CUT_MARKS if text.endswith(mark)), key=len, default="")
        assert (steps, answer) == (text.removesuffix(cut), "")


def test_the_stream_continues_where_an_opening_ended() -> None:
    stream = PartStream(TEMPLATE, "By the sea\n<FINAL-ANSWER>")
    assert sums(stream, [" Al", "ba</FINAL-", "ANSWER>"]) == ("", "Alba")


def test_the_beginning_of_a_frame_is_held_back_until_it_is_text() -> None:
    stream = PartStream(TEMPLATE)
    assert stream.feed("a <FINAL-") == [StepText("a ")]
    assert stream.feed("b <") == [StepText("<FINAL-b ")]
    assert stream.end_span() == [StepText("<")]
    assert stream.feed("FINAL-ANSWER>") == [StepText("FINAL-ANSWER>")]


# Each was shown to users as it is.
LEAKS = {
    "a frame cut at its start by the length limit": (["Alba\n<FINAL-ANS"], (), "Alba"),
    "a frame cut at its end by a length limit": (["<FINAL-ANSWER>Alba</FINAL-ANSWER"], (), "Alba"),
    "a second frame behind the first": (
        ["<FINAL-ANSWER>Alba</FINAL-ANSWER>\n<FINAL-ANSWER>Bor</FINAL-ANSWER>"], ("Bor",), "Alba"
    ),
    "a frame inside a frame": (["<FINAL-ANSWER><FINAL-ANSWER>Alba</FINAL-ANSWER>"], (), "Alba"),
    "two starts in one frame": (["<FINAL-ANSWER>A <FINAL-ANSWER>B"], (), "A \nB"),
    "ends without a beginning": (["4 May 1921</FINAL-ANSWER></FINAL-ANSWER>"], (), "4 May 1921"),
    "an end in a line": (["By the</FINAL-ANSWER>sea", "Bor"], ("By the", "sea"), "Bor"),
    "a frame cut by a retrieval": (["Who?<FINAL-ANSWER", "Alba"], ("Who?",), "Alba"),
    "text around a frame": (["Who?<FINAL-ANSWER>A</FINAL-ANSWER>So."], ("Who?", "So."), "A"),
}  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_markup_never_leaves_the_parser(leak: str) -> None:
    spans, steps, answer = LEAKS[leak]
    assert TEMPLATE.parse(spans) == (steps, answer)
    assert streamed(spans) == (steps, answer)


def streamed(spans: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Steps and answer from the parts of spans that are streamed character by character."""
    stream, texts = PartStream(TEMPLATE), []
    for span in spans:
        steps, _ = sums(stream, list(span))
        texts.append(steps)
    if not stream.has_frame:
        texts.pop()
    lines = (line.strip() for text in texts for line in text.splitlines())
    return tuple(filter(None, lines)), stream.answer if stream.has_frame else stream.unframed


PIECES = [
    "<FINAL-ANSWER>",
    "</FINAL-ANSWER>",
    "<FINAL-",
    "</FINAL-AN",
    "ANSWER>",
    "<",
    "a",
    " b ",
    "\n",
]


@settings(max_examples=300)
@given(st.lists(st.lists(st.sampled_from(PIECES)).map("".join), min_size=1, max_size=4))
def test_streamed_parts_sum_to_what_the_template_parses(spans: list[str]) -> None:
    steps, answer = TEMPLATE.parse(spans)
    assert streamed(spans) == (steps, answer)
    assert not any(mark in text for mark in MARKS for text in (*steps, answer))


def test_a_template_without_a_frame_has_none() -> None:
    template = Template(answer_start="", answer_end="")
    assert template.parse(["<FINAL-ANSWER>a"]) == ((), "<FINAL-ANSWER>a")
    assert sums(PartStream(template), ["a", "b"]) == ("ab", "")


@pytest.mark.parametrize(
    ("span", "state", "plain"),
    [
        ("By the sea\n", "none", "By the sea"),
        ("By the sea\n<FINAL-ANS", "none", "By the sea"),
        ("By the sea\n<FINAL-ANSWER> Al", "open", "By the sea\nAl"),
        ("<FINAL-ANSWER>Alba</FINAL-ANSWER> done", "closed", "done\nAlba"),
    ],
)
def test_the_state_of_a_frame(span: str, state: str, plain: str) -> None:
    assert TEMPLATE.frame_state(span) == state
    assert TEMPLATE.unframed(span).strip() == plain
    assert TEMPLATE.frame_state(TEMPLATE.framed("Alba")) == "closed"


@pytest.mark.parametrize(
    ("span", "query"),
    [
        ("", ""),
        (" \n", ""),
        ("Who?", "Who?"),
        ("Ann\n Where is she from? \n\n", "Where is she from?"),
        ("Who?<FINAL-ANSWER>A</FINAL-ANSWER>", "Who?"),
        ("Who?\n<FINAL-ANSWER>A</FINAL-ANSWER>Where?<FINAL-", "Where?"),
        ("<FINAL-ANSWER>Who?", "Who?"),
    ],
)
def test_a_query_text_is_the_last_line_without_markup(span: str, query: str) -> None:
    assert TEMPLATE.query_text(span) == query


def test_an_answer_before_a_retrieval_is_the_answer_for_both() -> None:
    spans = ["<FINAL-ANSWER> A</FINAL-ANSWER> Who?", " B done"]
    stream = PartStream(TEMPLATE)
    reported = [part for span in spans for part in (*stream.feed(span), *stream.end_span())]
    assert "".join(part.text for part in reported if isinstance(part, AnswerText)) == "A"
    assert TEMPLATE.parse(spans) == (("Who?", "B done"), "A")
