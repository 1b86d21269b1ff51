"""What is inserted for hits that are longer than a passage of the checkpoint."""

from array import array
from typing import Any

import pytest

from onegen_model import Passage, PassagePlace, Query, RetrievalParams, ScoredPassage, place_of
from onegen_model.events import FragmentHit
from onegen_model.generation.hit_renderer import HitRenderer
from onegen_model.inputs import Candidate
from onegen_model.transcript.renderer import Renderer


@pytest.fixture
def read(renderer: Renderer) -> Any:
    def read(found: list[ScoredPassage], passage_tokens: int | None = None) -> list[Candidate]:
        reader = HitRenderer(renderer, RetrievalParams(passage_tokens=passage_tokens), 4096)
        return reader.candidates(found, Query(array("f", [1.0]), "Where?", 5), object())

    return read


def long_passage() -> Passage:
    sentences = [f"Number {n} of the towns lies by the river." for n in range(40)]
    text = " ".join(sentences)
    place = PassagePlace("a.md", "a.md", 0, 1, lines=(5, 5), span=(100, 100 + len(text)))
    return Passage("a.md#0", text, "Towns", place.to_metadata())


def test_of_a_long_passage_the_best_fragment_is_read(
    read: Any, renderer: Renderer, caplog: pytest.LogCaptureFixture
) -> None:
    passage = long_passage()
    (start,) = read([ScoredPassage(passage, 0.5)])
    (later,) = read([FragmentHit(passage, 0.5, 3)])
    assert passage.text.startswith(start.scored.passage.text)
    text = later.scored.passage.text
    assert text in passage.text
    assert text.startswith("Number ")
    assert not passage.text.startswith(text)
    assert later.scored == ScoredPassage(later.scored.passage, 0.5)
    assert len(later.ids) <= renderer.max_passage_tokens + 2
    assert caplog.text.count("Passage 'a.md#0' is longer than 64 tokens and was cut") == 2
    place = place_of(later.scored.passage)
    assert place is not None
    assert place.span is not None
    assert passage.text[place.span[0] - 100 : place.span[1] - 100] == text
    assert place.lines == (5, 5)


def test_a_long_passage_is_read_whole_when_it_may_be(
    read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    passage = long_passage()
    (whole,) = read([FragmentHit(passage, 0.5, 3)], passage_tokens=2000)
    assert whole.scored.passage == passage
    assert not caplog.text
    (half,) = read([FragmentHit(passage, 0.5, 3)], passage_tokens=150)
    (fragment,) = read([FragmentHit(passage, 0.5, 3)])
    assert half.scored.passage.text.startswith(fragment.scored.passage.text)
    assert len(half.ids) > 2 * len(fragment.ids) - 40
    (short,) = read([FragmentHit(passage, 0.5, 3)], passage_tokens=30)
    assert len(short.ids) <= 32
    assert fragment.scored.passage.text.startswith(short.scored.passage.text)


def test_a_passage_that_has_changed_since_it_was_embedded_is_read_from_its_beginning(
    read: Any,
) -> None:
    passage = long_passage()
    (candidate,) = read([FragmentHit(passage, 0.5, 99)])
    assert passage.text.startswith(candidate.scored.passage.text)
