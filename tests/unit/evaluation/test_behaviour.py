"""Counts of failures in an evaluation, and costs of a question."""

from pathlib import Path

import pytest

from onegen_model import OneGenModel
from onegen_model.evaluation import RunFolder
from onegen_model.evaluation.score.scores import BEHAVIOUR
from tests.support.evaluation_world import ARDEN, BORG, QUESTIONS, evaluate, values, write_lines

pytestmark = pytest.mark.usefixtures("here")

RUN = ("--task", "multihop", "--corpus", "corpus.jsonl", "--top-k", "1", "--out", "run")


def test_what_goes_wrong_is_counted(model: OneGenModel, here: Path) -> None:
    third = {**QUESTIONS[0], "id": "q3", "question": "Where was Ada Berg born?"}
    write_lines(here / "questions.jsonl", [*QUESTIONS, third])
    script = {
        ARDEN: "Who owns Arden Mill?[RQ] x\nWho owns Arden Mill?[RQ] x\n"
        "<FINAL-ANSWER> Oslo</FINAL-ANSWER>",
        BORG: "Where is Borg Tower?[RQ] x\n<FINAL-ANSWER> blue",
        third["question"]: "<FINAL-ANSWER> Oslo</FINAL-ANSWER>",
    }
    assert evaluate(model, *RUN, "--retriever", "bm25", script=script) == 0
    behaviour = values(BEHAVIOUR, "run")
    wanted = {
        "retrieves": 0.667,
        "well-formed": 0.667,
        "retrievals": 1,
        "repeated": 0.333,
        "same first": 0.333,
        "gold inserted": 0.333,
    }
    assert behaviour | wanted == behaviour


def test_embedding_the_corpus_is_no_cost_of_a_question(model: OneGenModel, here: Path) -> None:
    assert evaluate(model, *RUN) == 0
    saved = max(file.stat().st_mtime for file in (here / "run" / "index").iterdir())
    assert all(trace.started >= saved for trace in RunFolder.open(here / "run").traces().values())
