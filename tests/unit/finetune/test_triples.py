"""Triples of question, answer and passage: their examples, their errors, and a run on them."""

from pathlib import Path
from typing import Any

import pytest

from onegen_model import PassageIndex
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.datasets import Data, open_data
from onegen_model.finetune.data.examples import TrainingSegment
from onegen_model.finetune.run.training import run
from onegen_model.places import PassagePlace
from onegen_model.transcript.renderer import Renderer
from tests.support.fake_embedder import FakeEmbedder
from tests.support.finetuning import NAMES, PASSAGES, losses_of, write_recipe
from tests.support.training_files import write

TEXTS = {
    "leave.md": ("alba is a town", "brig is by the sea", "cary is a town by the sea"),
    "pay.md": ("dorn is small",),
}


def passages() -> list[Passage]:
    return [
        Passage(place.passage_id, text, source, place.to_metadata())
        for source, texts in TEXTS.items()
        for chunk, text in enumerate(texts)
        for place in [PassagePlace(f"docs/{source}", source, chunk, len(texts))]
    ]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    PassageIndex.build(FakeEmbedder(), passages()).save(tmp_path / "my.index")
    return tmp_path / "my.index"


def opened(folder: Path, index: Path | None, *records: Any) -> Data:
    return open_data("triples", write(folder / "triples.jsonl", *records), index)


def test_a_triple_is_a_question_that_takes_one_retrieval(
    tmp_path: Path, index: Path, renderer: Renderer
) -> None:
    triple = {"question": "what is by the sea?", "answer": "brig", "passage": "leave.md#1"}
    data = opened(tmp_path, index, triple)
    [example] = data.examples.require_sound()
    first, last = example.segments
    assert first.text == ""
    assert last == TrainingSegment(" brig\n<FINAL-ANSWER> brig</FINAL-ANSWER>")
    [target] = example.targets
    assert target.positives == ("leave.md#1",)
    # The passages beside it in the document.
    assert target.negatives == ("leave.md#0", "leave.md#2")
    assert "leave.md#1" in target.inserted
    batch = Collator(renderer, data.passages)([example])
    assert batch["targets"].tolist() == [0] or len(batch["passage_keys"]) > 1


def test_a_neighbour_that_holds_the_answer_is_no_negative(tmp_path: Path, index: Path) -> None:
    triple = {"question": "what is it?", "answer": ["a town", "town"], "passage": "leave.md#1"}
    [example] = opened(tmp_path, index, triple).examples
    assert example.targets[0].negatives == ()


def test_a_source_stands_for_its_passage_with_the_answer(tmp_path: Path, index: Path) -> None:
    triples = [
        {"question": "where is cary?", "answer": "by the sea", "source": "docs/leave.md"},
        {"question": "where is brig?", "answer": "by the sea", "source": "leave.md"},
        {"question": "how is dorn?", "answer": "small", "source": "pay.md#0"},
    ]
    examples = opened(tmp_path, index, *triples).examples.require_sound()
    found = [one.targets[0].positives[0] for one in examples]
    assert found == ["leave.md#2", "leave.md#1", "pay.md#0"]


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (("It lasts sixteen weeks.", "It lasts six\nweeks."), "six weeks"),
        (("It was built in 1996.", "It has 96 rooms."), 96),
        (("东京在日本", "首都是北京。"), "北京"),
    ],
)
def test_an_answer_is_found_as_whole_words_in_any_spacing(
    tmp_path: Path, texts: tuple[str, str], answer: str | int
) -> None:
    """So neither half a number makes a passage gold, nor a line break a negative."""
    made = [Passage(f"a#{at}", one, "", PassagePlace("a", "a", at, 2).to_metadata())
            for at, one in enumerate(texts)]  # fmt: skip
    PassageIndex.build(FakeEmbedder(), made).save(tmp_path / "an.index")
    rows = [
        {"question": "What is it?", "answer": answer, "source": "a"},
        {"question": "What else?", "answer": answer, "passage": "a#0"},
    ]
    first, second = opened(tmp_path, tmp_path / "an.index", *rows).examples.require_sound()
    assert first.targets[0].positives == ("a#1",)
    assert first.targets[0].negatives == ("a#0",)
    assert second.targets[0].negatives == ()


def test_rows_may_carry_their_passages(tmp_path: Path) -> None:
    row = {"question": "q?", "answer": 9, "passage": {"text": "nine", "title": "T"}}
    [example] = opened(tmp_path, None, row).examples.require_sound()
    [passage] = example.targets[0].positives
    assert isinstance(passage, Passage)
    assert (passage.title, passage.text) == ("T", "nine")
    assert example.targets[0].inserted == (passage,)
    assert example.segments[1].text.startswith(" 9\n")


def test_the_same_line_is_the_same_example(tmp_path: Path, index: Path) -> None:
    row = {"question": "what is it?", "answer": "small", "passage": "pay.md#0"}
    assert opened(tmp_path, index, row).examples[0] == opened(tmp_path, index, row).examples[0]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"question": "", "answer": "x", "passage": "pay.md#0"}, "question: expected some text"),
        ({"question": "q?", "answer": " ", "passage": "pay.md#0"}, "answer: expected some text"),
        ({"question": "q?", "answer": ["x", ""], "passage": "pay.md#0"}, "answer: expected some"),
        ({"question": "q?", "answer": [None], "passage": "pay.md#0"}, "answer: expected some"),
        ({"question": "q?", "answer": [], "passage": "pay.md#0"}, "answer: expected some text"),
        ({"question": "q?", "answer": True, "passage": "pay.md#0"}, "answer: expected some text"),
        ({"question": "q?", "passage": "pay.md#0"}, "answer: expected some text"),
        ({"question": "q?", "answer": None, "passage": "pay.md#0"}, "answer: expected some text"),
        ({"question": "q?", "answer": "x"}, "passage: expected a passage, or a source"),
        ({"question": "q?", "answer": "x", "passage": {"title": "T"}}, "passage.text: expected"),
        ({"question": "q?", "answer": "x", "passage": 1.5}, "passage: expected a passage id"),
        ({"question": "q?", "answer": "x", "source": "pay.md"}, "source: no passage of 'pay.md'"),
        ({"question": "q?", "anser": "x", "passage": "pay.md#0"}, "anser: unknown"),
    ],
)
def test_a_bad_triple_is_named(
    tmp_path: Path, index: Path, record: dict[str, Any], problem: str
) -> None:
    good = {"question": "how is dorn?", "answer": "small", "passage": "pay.md#0"}
    with pytest.raises(InvalidInputError) as caught:
        opened(tmp_path, index, good, record).examples.require_sound()
    assert f"triples.jsonl:2: {problem}" in str(caught.value)


def test_the_format_is_recognised(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", {"question": "q?", "answer": "x", "passage": "p"})
    with pytest.raises(InvalidInputError, match="look like triples"):
        open_data("transcripts", file, None).examples.require_sound()


def test_a_run_learns_from_triples(tmp_path: Path, base: Path) -> None:
    rows = [
        {"question": f"where is {name}?", "answer": "by the sea", "passage": name} for name in NAMES
    ]
    PassageIndex.build(FakeEmbedder(), PASSAGES.values()).save(tmp_path / "my.index")
    file = write(tmp_path / "triples.jsonl", *rows)
    changes = {"train": str(file), "passages": str(tmp_path / "my.index"), "format": "triples"}
    recipe = write_recipe(tmp_path / "run", base, **changes)
    run(recipe, max_steps=3)
    run(recipe)  # goes on
    losses = losses_of(recipe.output)
    assert losses[-1]["language_modeling_loss"] < losses[0]["language_modeling_loss"]
    assert all(one["contrastive_loss"] > 0 for one in losses)
