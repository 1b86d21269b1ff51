"""How `onegen evaluate` counts what goes wrong, and what a question costs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from onegen_model import OneGenModel, Retriever
from onegen_model.cli.evaluation_run import Searchers
from onegen_model.evaluation.ask import harness
from onegen_model.evaluation.ask.harness import Asker
from onegen_model.evaluation.ask.questions import Question
from onegen_model.evaluation.ask.trace import Trace
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
    assert evaluate(model, *RUN, "--searcher", "bm25", script=script) == 0
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


def test_a_question_costs_nothing_of_the_index(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    build, ask_batch = Searchers._build, harness._ask_batch

    def opened(searchers: Searchers, name: str) -> Retriever:
        order.append(name)
        return build(searchers, name)

    def timed(asker: Asker, questions: Sequence[Question]) -> list[Trace]:
        order.append("asked")
        return ask_batch(asker, questions)

    monkeypatch.setattr(Searchers, "_build", opened)
    monkeypatch.setattr(harness, "_ask_batch", timed)
    assert evaluate(model, *RUN) == 0
    assert order == ["own", "asked"]
