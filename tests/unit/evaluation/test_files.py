"""Files of `onegen evaluate`, and its errors for wrong files and options."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation import read_questions, read_training_gold
from onegen_model.evaluation.ask.questions import spaced
from tests.support.evaluation_world import QUESTIONS, evaluate, write_lines, write_world

pytestmark = pytest.mark.usefixtures("here")

RUN = ("--task", "multihop", "--corpus", "corpus.jsonl", "--retriever", "bm25", "--out", "run")


@pytest.fixture(scope="module")
def finished_run(model: OneGenModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_world(folder)
    with contextlib.chdir(folder):
        assert evaluate(model, *RUN) == 0
    return folder / "run"


@pytest.fixture
def run(finished_run: Path, here: Path) -> Path:
    """A finished run of its own for each test, in its folder `run`."""
    return shutil.copytree(finished_run, here / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": ""}, "id: ''; expected some text"),
        ({"question": None}, "question: missing; expected some text"),
        ({"answer": "  "}, "answer: '  '; expected some text"),
        ({"aliases": "red"}, "aliases: 'red'; expected a list of texts"),
        ({"type": 3}, "type: 3; expected text"),
        ({"hops": "p1"}, "hops: 'p1'; expected a list of gold paragraphs"),
        ({"hops": ["p1"]}, r"hops\[0\]: 'p1'; expected a list of gold paragraphs"),
        ({"hops": [{"title": "x"}]}, r"hops\[0\].paragraph_id: missing; expected the id"),
        ({"id": "q1"}, "id: 'q1' is used above; expected each id once"),
        ({"question": "half \ud83d"}, "question: .*; expected some text"),
        ({"dataset": "half \ud83d"}, "dataset: .*; expected text"),
    ],
)
def test_a_bad_question_is_named_by_line_and_field(
    change: dict[str, Any], said: str, here: Path
) -> None:
    write_lines(here / "bad.jsonl", [QUESTIONS[0], {**QUESTIONS[1], **change}])
    with pytest.raises(InvalidInputError, match=rf"bad\.jsonl:2: {said}"):
        read_questions(here / "bad.jsonl")


def test_two_hops_are_no_single_hop_question(here: Path) -> None:
    with pytest.raises(InvalidInputError, match="hops: 2 paragraphs; expected one in a single"):
        read_questions(here / "questions.jsonl", single_hop=True)


def test_unanswerable_questions_are_left_out_and_counted(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_lines(here / "some.jsonl", [*QUESTIONS, {"id": "q3", "answerable": False, "answer": ""}])
    assert [one.id for one in read_questions(here / "some.jsonl")] == ["q1", "q2"]
    assert "1 unanswerable questions" in caplog.text
    rows = [QUESTIONS[0], {"question": "Who?", "answerable": False, "answer": ""}]
    write_lines(here / "all.jsonl", rows)
    assert [one.answers for one in read_questions(here / "all.jsonl", unanswerable=True)] == [
        ("Oslo",),
        (),
    ]
    write_lines(here / "none.jsonl", [{"id": "q3", "answerable": False, "answer": ""}])
    with pytest.raises(InvalidInputError, match="holds no question"):
        read_questions(here / "none.jsonl")


def test_question_and_answer_alone_are_enough(here: Path) -> None:
    rows = [{"question": "Who?", "answer": "Ada"}, {"question": "Where?", "answer": "Rome"}]
    write_lines(here / "plain.jsonl", rows)
    first, second = read_questions(here / "plain.jsonl")
    assert (first.id, first.text, first.answers, first.gold) == ("1", "Who?", ("Ada",), frozenset())
    assert (second.id, second.hops, second.candidates) == ("2", (), ())


def test_a_limit_spreads_over_the_file(here: Path) -> None:
    questions = read_questions(here / "questions.jsonl") * 5
    assert spaced(questions, 2) == [questions[0], questions[5]]
    assert spaced(questions, None) == questions


def test_training_gold_is_found_in_questions_and_in_transcripts(here: Path) -> None:
    target = {"positives": ["p7#1", "page#part", {"text": "no id"}]}
    rows = [
        QUESTIONS[0],
        {"segments": [{"text": "", "target": target}]},
        {"segments": [{"text": "", "target": {"positives": [], "inserted": ["p9#0"]}}, {}]},
        {"id": "q3", "answerable": False},
        {"id": "q4", "answerable": False, "hops": [{"paragraph_id": "p8"}]},
    ]
    write_lines(here / "train.jsonl", rows)
    assert read_training_gold([here / "train.jsonl"]) == {"p1", "p2", "p7", "page#part", "p9"}
    write_lines(here / "odd.jsonl", [{"query": "x"}])
    with pytest.raises(InvalidInputError, match=r"odd\.jsonl:1: no gold paragraphs"):
        read_training_gold([here / "odd.jsonl"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "multihop"], "--out is missing; expected one"),
        (["--out", "run"], "--task is missing; expected one"),
        (["--score", "run", "--task", "multihop"], "--score with --task"),
        ([*RUN, "--limit", "0"], "limit=0; expected at least 1"),
        ([*RUN, "--batch", "0"], "batch=0; expected at least 1"),
        ([*RUN, "--top-k", "0"], "top_k=0; expected at least 1"),
        ([*RUN, "--zero-shot", "--top-k", "0"], "top_k=0; expected at least 1"),
        (
            [*RUN, "--zero-shot", "--query", "span"],
            "A zero-shot run with the retriever",
        ),
        (
            [*RUN, "--zero-shot", "--baselines", "bm25,own"],
            "A zero-shot run with the retriever",
        ),
        ([*RUN, "--retrieval", "never"], "Retrieval never with a retriever or query"),
        ([*RUN, "--out", "questions.jsonl"], "questions.jsonl cannot be written"),
        ([*RUN, "--out", "questions.jsonl/run"], "questions.jsonl/run cannot be written"),
        (
            [*RUN, "--baselines", "bm25,bert"],
            "The baseline 'bert'; expected one of own",
        ),
        (["--task", "multihop", "--out", "run"], "No corpus for the pool corpus"),
        ([*RUN, "--corpus", "absent.jsonl"], "There is no file or folder absent.jsonl"),
        ([*RUN, "--questions", "absent.jsonl"], "No file absent.jsonl"),
        (["--score", "absent"], "absent holds no run"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], said: str, model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, *options) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    [line] = [one for one in shown.err.splitlines() if one.startswith("onegen: ")]
    assert said in line


def test_a_corpus_without_the_gold_is_refused_before_anything_is_asked(
    model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(here / "corpus.jsonl", [{"id": "p1", "text": "Arden Mill"}])
    assert evaluate(model, *RUN) == 2
    assert "Gold paragraph p2 of question q1 is not among the 1" in capsys.readouterr().err
    assert not (here / "run").exists()


def test_own_candidates_are_needed_to_search_among_them(
    model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(here / "questions.jsonl", [{**QUESTIONS[0], "candidates": []}])
    assert evaluate(model, *RUN, "--pool", "own") == 2
    assert "Question q1 has no candidates" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("candidates", "said"),
    [([], "has no candidates"), (["p1", "p4"], "has no p2 among its candidates")],
)
def test_an_index_made_already_needs_the_gold_among_the_candidates_too(
    candidates: list[str],
    said: str,
    model: OneGenModel,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = ("--task", "retrieval", "--pool", "own", "--index", "shared")
    assert evaluate(model, *task, "--corpus", "corpus.jsonl", "--out", "one") == 0
    write_lines(here / "questions.jsonl", [{**QUESTIONS[0], "candidates": candidates}])
    assert evaluate(model, *task, "--out", "two") == 2
    assert f"Question q1 {said}" in capsys.readouterr().err


def test_two_paragraphs_of_one_id_are_refused_by_every_searcher(
    model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (here / "corpus.jsonl").open("a") as file:
        file.write('{"id": "p1", "text": "another"}\n')
    assert evaluate(model, *RUN) == 2
    assert "Two passages have the id 'p1#0'" in capsys.readouterr().err


def test_an_empty_index_is_refused(
    model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onegen_model import PassageIndex

    PassageIndex(model).save(here / "empty")
    assert evaluate(model, "--task", "multihop", "--index", "empty", "--out", "run") == 2
    assert "The pool holds no passage" in capsys.readouterr().err


def test_an_index_of_another_pool_is_refused(
    model: OneGenModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (here / "corpus.jsonl").read_text()
    write_lines(here / "more.jsonl", [{"id": "p9", "text": "a ninth"}])
    (here / "more.jsonl").write_text(rows + (here / "more.jsonl").read_text())
    task = ("--task", "retrieval", "--index", "shared")
    assert evaluate(model, *task, "--corpus", "more.jsonl", "--out", "one") == 0
    assert evaluate(model, *task, "--corpus", "corpus.jsonl", "--out", "two") == 2
    assert "shared holds 1 passages that the pool does not" in capsys.readouterr().err
