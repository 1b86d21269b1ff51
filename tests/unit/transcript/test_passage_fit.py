"""Passages that are longer than the checkpoint reads them."""

import logging
import random

import pytest

from onegen_model import Passage
from onegen_model.errors import InvalidInputError
from onegen_model.transcript.passage_fit import count_passage, fit_passage, fragments
from onegen_model.transcript.renderer import Renderer

SENTENCE = "Nothing else is known of that town by the river. "


def test_a_passage_that_fits_is_left_alone(renderer: Renderer) -> None:
    passage = Passage("1", "Ann founded it.", "Alba")
    assert fit_passage(passage, renderer) is passage


def test_a_long_text_is_cut_after_a_sentence_with_a_warning(
    renderer: Renderer, caplog: pytest.LogCaptureFixture
) -> None:
    passage = Passage("page 7", "Ann founded it. " + SENTENCE * 40, "Alba")
    with caplog.at_level(logging.WARNING):
        short = fit_passage(passage, renderer)
    assert passage.text.startswith(short.text)
    assert short.text.endswith(".")
    assert short.title == "Alba"
    assert len(renderer.frame_ids(short)) <= renderer.max_passage_tokens + 2
    assert "Passage 'page 7' is longer than 64 tokens" in caplog.text


def test_a_long_title_leaves_room_for_the_text(renderer: Renderer) -> None:
    title = "the mill of the town by the river " * 20
    short = fit_passage(Passage("1", "Ann founded it.", title), renderer)
    assert title.startswith(short.title)
    assert short.text == "Ann founded it."
    assert len(renderer.frame_ids(short)) <= renderer.max_passage_tokens + 2


def test_one_long_word_is_cut_inside(renderer: Renderer) -> None:
    short = fit_passage(Passage("1", "mill" * 500), renderer)
    assert short.text
    assert short.text + ("mill" * 500).removeprefix(short.text) == "mill" * 500
    assert len(renderer.frame_ids(short)) <= renderer.max_passage_tokens + 2


@pytest.mark.parametrize(
    ("title", "text"),
    [("", "\n" * 3000 + "By the sea."), ("\n" * 300, "By the sea."), (" \n" * 90, "mill" * 500)],
)
def test_white_space_longer_than_a_passage_leaves_its_text(
    renderer: Renderer, title: str, text: str
) -> None:
    short = fit_passage(Passage("1", text, title), renderer)
    assert short.text.startswith(text.strip()[:4])
    assert not short.title
    assert len(renderer.frame_ids(short)) <= renderer.max_passage_tokens + 2


def test_a_long_passage_of_white_space_is_refused_as_an_empty_one(renderer: Renderer) -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        renderer.frame_ids(fit_passage(Passage("1", "\n" * 3000), renderer))


def text_of(passage: Passage, renderer: Renderer) -> list[str]:
    return [one.text for one in fragments(passage, renderer)]


def test_fragments_hold_the_whole_text_in_order(renderer: Renderer) -> None:
    parts = (f"## Part {n}\n\n" + SENTENCE * (n % 5 + 1) + "\n\n- Alba\n- Brig" for n in range(60))
    text = "\n\n".join(parts)
    found = list(fragments(Passage("1", text, "Towns"), renderer))
    at = 0
    for one in found:
        assert (one.id, one.title) == ("1", "Towns")
        assert not text[at : text.index(one.text, at)].strip()
        at = text.index(one.text, at) + len(one.text)
        assert len(renderer.embed_ids(one)) <= renderer.max_passage_tokens + 2
    assert not text[at:].strip()


def test_a_heading_is_no_fragment_by_itself(renderer: Renderer) -> None:
    paragraph = SENTENCE * 40
    first, *others = text_of(Passage("1", f"# Alba\n\n{paragraph}", ""), renderer)
    assert first.startswith("# Alba\n\nNothing else")
    assert len(renderer.text_ids(first)) > renderer.max_passage_tokens // 2
    assert len(others) > 5


def test_a_long_text_of_any_form_is_cut_without_loss(renderer: Renderer) -> None:
    for text in (SENTENCE * 400, "mill" * 2000, "a\n" * 4000):
        found = text_of(Passage("1", text), renderer)
        assert "".join("".join(found).split()) == "".join(text.split())


def test_no_fragment_is_a_little_too_long(renderer: Renderer) -> None:
    # The splitter alone gives some of these back with up to 69 tokens.
    words = (
        "dancer painter of Málaga born in 1982 quays she paints the mill (Ñandú) Öl-Mühle, keeper;"
    )
    rng = random.Random(0)
    for _ in range(1500):
        text = " ".join(rng.choices(words.split(), k=rng.randint(14, 30)))
        found = list(fragments(Passage("long", text, "Anna Lindqvist"), renderer))
        assert max(count_passage(one, renderer) for one in found) <= renderer.max_passage_tokens
        assert "".join(one.text for one in found).replace(" ", "") == text.replace(" ", "")
