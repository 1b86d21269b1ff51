"""Texts with links become a training file: pieces at the ends of sentences, no mention cut."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onegen_model.finetune.data.datasets import open_data

TEXT = (
    "  Ada saw St. Louis. It was in May.  Bob Dr. No met Ada at sea! The boat was old. "
    "Carl slept.\nNobody saw the Moon? "
)
NAMES = ("St. Louis", "Bob Dr. No", "Carl", "Moon")


@pytest.fixture
def script(training_script: Callable[[str], ModuleType]) -> ModuleType:
    return training_script("prepare_linking")


def document(name: str = "d", kinds: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    mentions = [
        {
            "start": TEXT.index(one),
            "end": TEXT.index(one) + len(one),
            "surface": one,
            "entity_id": f"Q{at}",
            "negatives": [f"Q{at + 1}"],
            **({"kind": kinds[at]} if kinds else {}),
        }
        for at, one in enumerate(NAMES)
    ]
    return {"id": name, "annotation": "partial", "text": TEXT, "mentions": mentions, **more}


def sound(piece: dict[str, Any]) -> list[str]:
    """The surfaces of a piece, whose offsets are checked."""
    text = piece["text"]
    assert text == text.strip() != ""
    assert text in TEXT
    for one in piece["mentions"]:
        assert text[one["start"] : one["end"]] == one["surface"]
    return [one["surface"] for one in piece["mentions"]]


def test_sentences_begin_behind_white_space(script: ModuleType) -> None:
    found = [TEXT[start:end] for start, end in script.sentences(TEXT)]
    assert found[:3] == ["  Ada saw St.", "Louis.", "It was in May."]
    assert found[-2:] == ["Carl slept.", "Nobody saw the Moon? "]
    assert script.sentences("") == [(0, 0)]


@pytest.mark.parametrize("longest", [1, 20, 40, 60, 1000])
def test_pieces_have_every_mention_once_and_whole(script: ModuleType, longest: int) -> None:
    made = list(script.human([document()], longest, 3))
    assert [name for one in made for name in sound(one)] == list(NAMES)
    spans = list(script.runs(document(), longest))
    covered = "".join(TEXT[start:end] for start, end in spans)
    assert covered.strip() == TEXT.strip(), "nothing is left out between them"
    if longest == 1000:
        assert len(spans) == 1
    for start, end in spans:
        assert end - start <= max(longest, 35), "only one sentence may be longer"


def test_whole_texts_come_several_times_and_keep_pieces_without_a_mention(
    script: ModuleType,
) -> None:
    whole = document("w", annotation="exhaustive")
    made = list(script.human([whole, document("p")], 20, 3))
    counts = Counter(one["text"] for one in made if one["annotation"] == "exhaustive")
    assert set(counts.values()) == {3}
    assert "The boat was old." in counts
    partial = [one["text"] for one in made if one["annotation"] == "partial"]
    assert len(partial) == len(set(partial))
    assert "The boat was old." not in partial, "it teaches nothing"
    assert len({one["id"] for one in made}) == len(made)


@pytest.mark.parametrize("width", [0, 30, 60, 1000])
def test_the_surroundings_of_a_mention_cut_no_other_one(script: ModuleType, width: int) -> None:
    one = document()
    for mention in one["mentions"]:
        start, end = script.around(one, mention, width)
        assert start <= mention["start"] < mention["end"] <= end
        for other in one["mentions"]:
            is_outside = other["end"] <= start or other["start"] >= end
            assert is_outside or start <= other["start"] < other["end"] <= end
        assert mention["surface"] in sound(script.piece(one, start, end, "x"))
        if width == 1000:
            assert (start, end) == (0, len(TEXT))
        if width:
            assert end - start <= max(width, 35)


def test_hard_silver_mentions_are_all_there_and_easy_ones_are_drawn(script: ModuleType) -> None:
    kinds = ("exact", "partial_self", "exact", "ambiguous_cross")
    documents = [document(f"s{number}", kinds) for number in range(10)]

    def draw(easy: int, seed: int = 0) -> list[dict[str, Any]]:
        return list(script.silver(documents, easy, 0, random.Random(seed)))

    assert [sound(one) for one in draw(0)] == [[NAMES[1]], *[[NAMES[3]]] * 3] * 10
    for easy, expected in ((5, 45), (20, 60), (99, 60)):
        made = draw(easy)
        assert len(made) == expected
        assert len({one["id"] for one in made}) == expected
    assert draw(5) == draw(5) != draw(5, 1)
    # Mentions that share their surroundings come once.
    assert len(list(script.silver(documents, 99, 1000, random.Random(0)))) == 10


def test_the_files_are_read_without_a_problem(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = [{"id": f"Q{number}", "name": f"name {number}"} for number in range(6)]
    kinds = ("exact",) * 4
    files = {
        "el_train": [document("a", annotation="exhaustive"), document("b")],
        "el_silver_train": [document("c", kinds)],
        "el_entities": entities,
    }
    for name, lines in files.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["linking", "--data", str(tmp_path), "--out", str(out)])
    script.main()
    data = open_data("entity_linking", out / "train.jsonl", out / "entities.jsonl.gz")
    examples = list(data.examples.require_sound())
    assert len(examples) == len({one.id for one in examples}) == 5 + 1 + 1
    assert Counter(one.is_exhaustive for one in examples) == {True: 5, False: 2}
    assert {len(one.mentions) for one in examples} == {4}
