"""Steps and answer, told apart while the text streams."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from onegen_model import AnswerText, PartStream, StepText
from onegen_model.transcript.template import Template

TEMPLATE = Template()
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
def test_nothing_is_lost_or_changed(text: str) -> None:
    steps, answer = sums(PartStream(TEMPLATE), list(text))
    if "<FINAL-ANSWER>" not in text:
        assert (steps, answer) == (text, "")


def test_it_goes_on_where_an_opening_ended() -> None:
    stream = PartStream(TEMPLATE, "By the sea\n<FINAL-ANSWER>")
    assert sums(stream, [" Al", "ba</FINAL-", "ANSWER>"]) == ("", "Alba")


def test_what_looked_like_a_frame_is_text_after_all() -> None:
    stream = PartStream(TEMPLATE)
    assert stream.feed("a <FINAL-") == [StepText("a ")]
    assert stream.end_span() == [StepText("<FINAL-")]
    assert stream.feed("ANSWER>") == [StepText("ANSWER>")]


PIECES = ["<FINAL-ANSWER>", "</FINAL-ANSWER>", "<FINAL-", "</FINAL-AN", "a", " b ", "\n"]


@given(st.lists(st.lists(st.sampled_from(PIECES)).map("".join), min_size=1, max_size=4))
def test_the_answer_is_the_one_that_the_template_parses(spans: list[str]) -> None:
    stream = PartStream(TEMPLATE)
    for span in spans:
        sums(stream, list(span))
    assert (stream.answer or stream.unframed) == TEMPLATE.parse(spans)[1]


def test_an_answer_before_a_retrieval_is_the_answer_for_both() -> None:
    spans = ["<FINAL-ANSWER> A</FINAL-ANSWER> Who?", " B done"]
    stream = PartStream(TEMPLATE)
    told = [part for span in spans for part in (*stream.feed(span), *stream.end_span())]
    assert "".join(part.text for part in told if isinstance(part, AnswerText)) == "A"
    assert TEMPLATE.parse(spans) == (("Who?", "B done"), "A")
