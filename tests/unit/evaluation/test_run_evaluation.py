"""`run_evaluation`: the library function behind `onegen evaluate`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import onegen_model.evaluation
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation import (
    EvaluationSettings,
    RunFolder,
    read_questions,
    run_evaluation,
    score_runs,
)
from onegen_model.evaluation.ask.evaluation import prepare_evaluation
from onegen_model.evaluation.score.scores import FAMILIAR, HOPS, QUALITY
from tests.support.evaluation_world import ARDEN, BORG, QUESTIONS, SCRIPT, write_lines
from tests.support.script import scripted


@pytest.fixture
def settings(here: Path) -> EvaluationSettings:
    return EvaluationSettings("multihop", here / "run", here / "corpus.jsonl", top_k=1)


def test_an_evaluation_runs_from_python(
    settings: EvaluationSettings, model: OneGenModel, here: Path
) -> None:
    questions = read_questions(here / "questions.jsonl")
    with scripted(model, SCRIPT):
        result = run_evaluation(settings, questions, model)
    assert result.is_complete
    assert list(result.folder.traces()) == ["q1", "q2"]
    scores = score_runs({"run": result.folder}, questions)
    assert scores[QUALITY]["run"]["EM"].value == 0.5


def test_questions_without_gold_paragraphs_are_answered_and_left_out_of_recall(
    settings: EvaluationSettings, model: OneGenModel, here: Path
) -> None:
    plain = {"question": BORG, "answer": "red"}
    questions = read_questions(write_lines(here / "mixed.jsonl", [QUESTIONS[0], plain]))
    with scripted(model, SCRIPT):
        chosen = replace(settings, retriever="bm25", baselines=("bm25",))
        folder = run_evaluation(chosen, questions, model).folder
    scores = score_runs({"run": folder}, questions, frozenset(["p1"]))
    columns = scores[QUALITY]["run"]
    assert (columns["questions"].value, columns["EM"].value) == (2, 0.5)
    assert (columns["recall@1"].value, columns["recall@1"].count) == (1, 2)
    assert columns["all gold@5"].count == 1
    assert columns["MRR"].count == 1
    assert scores[HOPS]["run, all hops"]["all gold@1"].count == 1
    assert scores[FAMILIAR]["run, never in training"]["recall@1"].count == 1


def test_questions_and_answers_alone_give_answer_scores_without_recall(
    settings: EvaluationSettings, model: OneGenModel, here: Path
) -> None:
    rows = [{"question": ARDEN, "answer": "Oslo"}, {"question": BORG, "answer": "red"}]
    questions = read_questions(write_lines(here / "plain.jsonl", rows))
    with scripted(model, SCRIPT):
        folder = run_evaluation(replace(settings, retriever="bm25"), questions, model).folder
    scores = score_runs({"run": folder, "again": folder}, questions)
    assert set(scores[QUALITY]["run"]) == {"questions", "EM", "F1", "substring"}
    assert scores[QUALITY]["run"]["EM"].value == 0.5
    assert HOPS not in scores


def test_the_retrieval_task_needs_gold_paragraphs(
    settings: EvaluationSettings, model: OneGenModel, here: Path
) -> None:
    questions = read_questions(write_lines(here / "q.jsonl", [{"question": "W?", "answer": "A"}]))
    with pytest.raises(InvalidInputError, match="Question 1 has no hops; expected its gold"):
        run_evaluation(replace(settings, task="retrieval"), questions, model)


def test_a_stop_while_embedding_keeps_the_passages(
    settings: EvaluationSettings, model: OneGenModel, here: Path
) -> None:
    questions = read_questions(here / "questions.jsonl")
    rows = [{"id": f"x{n}", "text": f"the page {n} of the mill"} for n in range(300)]
    corpus = write_lines(here / "more.jsonl", rows)
    corpus.write_text(corpus.read_text() + (here / "corpus.jsonl").read_text())
    calls = iter([False, True])
    large = replace(settings, task="retrieval", corpus=corpus)
    result = run_evaluation(large, questions, model, lambda: next(calls))
    assert not result.is_complete
    embedded = len(list(index_passages(here / "run" / "index")))
    assert 0 < embedded < 304
    assert run_evaluation(large, questions, model).is_complete


def index_passages(folder: Path) -> list[str]:
    [file] = folder.glob("passages-*")
    return file.read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus": Path("absent.jsonl")}, r"There is no file or folder absent\.jsonl"),
        ({"corpus": None, "index": Path("absent")}, "There is no index at absent"),
        ({"encoder": Path("absent")}, "There is no folder absent; expected a sentence encoder"),
    ],
)
def test_a_missing_path_is_reported_before_the_model_is_loaded(
    change: dict[str, Any], said: str, settings: EvaluationSettings, here: Path
) -> None:
    def load() -> OneGenModel:
        raise AssertionError("the model was loaded")

    questions = read_questions(here / "questions.jsonl")
    with pytest.raises(InvalidInputError, match=said):
        prepare_evaluation(replace(settings, **change), questions, load)


@pytest.mark.parametrize(
    "change", [{"task": "dance"}, {"pool": "sea"}, {"query": "q"}, {"retriever": "x"}]
)
def test_an_unknown_choice_is_named(change: dict[str, Any], settings: EvaluationSettings) -> None:
    [(name, value)] = change.items()
    with pytest.raises(InvalidInputError, match=f"{name}='{value}'; expected one of"):
        replace(settings, **change)


def test_paths_may_be_strings_and_other_values_are_refused_by_name(here: Path) -> None:
    settings = EvaluationSettings("multihop", "run", "corpus.jsonl")  # type: ignore[arg-type]
    assert (settings.out, settings.corpus) == (Path("run"), Path("corpus.jsonl"))
    assert len(read_questions("questions.jsonl")) == 2
    with pytest.raises(InvalidInputError, match="corpus=3; expected a path; change corpus"):
        EvaluationSettings("multihop", here, 3)  # type: ignore[arg-type]
    for value in ("3", True, 0.5, 0):
        with pytest.raises(InvalidInputError, match=f"limit={value!r}; expected at least 1"):
            replace(settings, limit=value)


def test_a_run_of_the_first_release_can_be_read(here: Path) -> None:
    folder = here / "old"
    folder.mkdir()
    plain = {
        "format": 1,
        "task": "retrieval",
        "pipeline": "ranking",
        "fingerprint": "f",
        "dtype": "float32",
        "searcher": "bm25",
        "query": "question",
        "pool": "corpus",
        "passages": "d",
        "frame": None,
        "params": {},
        "note": {},
    }
    (folder / "settings.json").write_text(json.dumps(plain))
    ranking = {"question_id": "q1", "searcher": "bm25", "query": "question", "hops": [["p1"]] * 2}
    write_lines(folder / "rankings.jsonl", [ranking])
    run = RunFolder.open(folder)
    assert run.settings.retriever == run.rankings()[0].retriever == "bm25"
    assert run.settings.to_dict() == plain
    questions = read_questions(here / "questions.jsonl")
    assert score_runs({"old": run}, questions)[QUALITY]["old"]["recall@1"].value == 0.5


def test_every_public_name_of_the_package_can_be_imported() -> None:
    for name in onegen_model.evaluation.__all__:
        assert getattr(onegen_model.evaluation, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = onegen_model.evaluation.nothing
