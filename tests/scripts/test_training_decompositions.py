"""Questions of which only the hops are known: what their made-up passages hold."""

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from onegen_model.finetune.data.examples import TRANSCRIPT


def hop(question: str, answer: str, title: str | None = None) -> dict[str, Any]:
    return {"question": question, "answer": answer, "title": title}


ROWS = [
    {
        "id": "m1",
        "type": "2hop",
        "question": "Who married the director of Elk?",
        "answer": "Bo",
        "hops": [hop("who  directed Elk", "Ada", "Elk"), hop("Who married Ada ?", "Bo")],
    },
    {
        "id": "m2",
        "type": "2hop",
        "question": "Where was the author of Fir born?",
        "answer": "Lund",
        "hops": [
            hop("Who wrote Fir", "Cy D.", "Fir"),
            hop("Where was Cy D. 's home?", "Lund", "Cy D."),
        ],
    },
]


@pytest.fixture
def made(training_script: Callable[[str], ModuleType]) -> list[dict[str, Any]]:
    script = training_script("decompositions")
    return list(script.decompositions(ROWS, ["p1"], random.Random(0), 5))


def test_the_hops_are_written_with_tidy_questions(made: list[dict[str, Any]]) -> None:
    (first,) = (one for one in made if one["id"] == "m1")
    assert [segment["text"] for segment in first["segments"]] == [
        "Who directed Elk?",
        " Ada\nWho married Ada?",
        " Bo\n<FINAL-ANSWER> Bo</FINAL-ANSWER>",
    ]


def test_each_passage_holds_the_answer_to_its_question(made: list[dict[str, Any]]) -> None:
    assert len(made) == len(ROWS)
    for one in made:
        assert not list(TRANSCRIPT.problems(one))
        (row,) = (row for row in ROWS if row["id"] == one["id"])
        for segment, asked in zip(one["segments"], row["hops"], strict=False):
            target = segment["target"]
            assert target["positives"] == target["negatives"] == []
            (passage,) = (one for one in target["inserted"] if isinstance(one, dict))
            assert f"? {asked['answer'].rstrip('.')}." in passage["text"]
            assert ".." not in passage["text"]
            assert passage["title"] == (asked["title"] or "")


def test_a_distractor_may_be_inserted_as_well(
    training_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = training_script("decompositions")
    monkeypatch.setattr(script, "_DISTRACTOR_SHARE", 1.0)
    for one in script.decompositions(ROWS, ["p1"], random.Random(0), 5):
        for segment in one["segments"][:-1]:
            assert sum(ref == "p1" for ref in segment["target"]["inserted"]) == 1
            assert len(segment["target"]["inserted"]) == 2


def test_questions_without_a_hop_or_with_too_many_are_left_out(
    training_script: Callable[[str], ModuleType],
) -> None:
    script = training_script("decompositions")
    unusable = [
        ROWS[0] | {"hops": []},
        ROWS[0] | {"hops": [hop("Who directed Elk?", "")]},
        ROWS[0] | {"hops": ROWS[0]["hops"] * 3},
        ROWS[0] | {"answer": ""},
    ]
    assert list(script.decompositions(unusable, ["p1"], random.Random(0), 5)) == []
