"""`onegen evaluate` on a random model that answers by script: all scores are known by hand."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel, RequestHandle
from onegen_model.evaluation import RunFolder
from onegen_model.evaluation.ask.trace import trace_from_dict, trace_to_dict
from onegen_model.evaluation.score.scores import (
    BEHAVIOUR,
    DIFFERENCES,
    FAMILIAR,
    HOPS,
    KINDS,
    QUALITY,
)
from onegen_model.events import Finished, PassagesInserted, RetrievalRequested, Token
from tests.support.evaluation_world import (
    ARDEN,
    BORG,
    PARAGRAPHS,
    QUESTIONS,
    SCRIPT,
    evaluate,
    read_scores,
    values,
    write_lines,
)

pytestmark = pytest.mark.usefixtures("here")

RUN = ("--task", "multihop", "--corpus", "corpus.jsonl", "--top-k", "1", "--out", "run")
BM25 = (*RUN, "--retriever", "bm25")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that a model is asked."""
    texts: list[str] = []
    submit = OneGenModel.submit

    def count(model: OneGenModel, question: str, *options: Any) -> RequestHandle:
        texts.append(question)
        return submit(model, question, *options)

    monkeypatch.setattr(OneGenModel, "submit", count)
    return texts


def test_answers_and_retrieval_are_scored_as_by_hand(model: OneGenModel) -> None:
    assert evaluate(model, *BM25) == 0
    assert values(QUALITY, "run") == {
        "questions": 2,
        "EM": 0.5,
        "F1": round((1 + 2 / 3) / 2, 3),
        "substring": 1,
        "recall@1": 0.75,
        "recall@5": 0.75,
        "all gold@5": 0.5,
        "MRR": 1,
        "MAP": 0.75,
        "nDCG@10": round((1 + 1 / 1.6309297535714573) / 2, 3),
    }
    behaviour = values(BEHAVIOUR, "run")
    wanted = {
        "retrieves": 1,
        "retrievals": 1.5,
        "repeated": 0,
        "gold inserted": 0.75,
        "finished": 1,
        "well-formed": 1,
    }
    assert behaviour | wanted == behaviour
    assert behaviour["forwarded"] + behaviour["reused"] > 50
    assert behaviour["seconds"] > 0
    assert behaviour["peak MiB"] > 50


def test_hops_and_kinds_have_separate_rows(model: OneGenModel) -> None:
    evaluate(model, *BM25)
    assert values(HOPS, "run, hop 1")["recall@1"] == 1
    assert values(HOPS, "run, hop 2")["recall@1"] == 0.5
    assert values(HOPS, "run, hop 2")["MAP"] == 0.5
    assert values(HOPS, "run, all hops")["support@1"] == 0.75
    assert values(HOPS, "run, all hops")["all gold@1"] == 0.5
    assert values(KINDS, "run, 2wiki compositional")["EM"] == 1
    assert values(KINDS, "run, musique")["EM"] == 0


def test_scores_are_split_by_what_was_gold_in_training(model: OneGenModel, here: Path) -> None:
    train = [
        {"supporting": ["p4"]},
        {"segments": [{"text": "", "target": {"positives": ["p3#0"]}}, {"text": "x"}]},
    ]
    write_lines(here / "train.jsonl", train)
    evaluate(model, *BM25, "--train", "train.jsonl")
    assert values(FAMILIAR, "run, gold in training") | {"EM": 0, "recall@1": 0.5} == values(
        FAMILIAR, "run, gold in training"
    )
    assert values(FAMILIAR, "run, never in training") | {"EM": 1, "recall@1": 1} == values(
        FAMILIAR, "run, never in training"
    )


def test_saved_traces_score_the_same_without_a_model(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(model, *RUN, "--baselines", "own,bm25")
    first = capsys.readouterr().out
    assert "| run: BM25 (span) | 2 |" in first
    assert "| run: OneGen (question) | 2 |" in first
    assert evaluate(None, "--score", "run") == 0
    assert capsys.readouterr().out == first
    assert evaluate(None, "--score", "run/traces.jsonl") == 0
    assert capsys.readouterr().out == first


def test_all_events_survive_the_file(model: OneGenModel) -> None:
    evaluate(model, *RUN)
    traces = RunFolder.open(Path("run")).traces()
    assert list(traces) == ["q1", "q2"]
    for trace in traces.values():
        assert trace_from_dict(json.loads(json.dumps(trace_to_dict(trace)))) == trace
        assert {type(event) for event in trace.events} == {
            Token,
            RetrievalRequested,
            PassagesInserted,
            Finished,
        }
        assert len(trace.requested[0].query_embedding) == 64
        usage = trace.finished.usage
        assert usage.written == sum(isinstance(event, Token) for event in trace.events)
    first = traces["q1"]
    assert first.requested[1].text == "Ada Berg, where?"
    assert first.spans[-1] == " Oslo\n<FINAL-ANSWER> Oslo</FINAL-ANSWER>"


def test_ctrl_c_loses_no_finished_question_and_prints_one_line(
    model: OneGenModel,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    here: Path,
) -> None:
    count = OneGenModel.submit

    def interrupt(model: OneGenModel, question: str, *options: Any) -> RequestHandle:
        if asked:
            signal.raise_signal(signal.SIGINT)
        return count(model, question, *options)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(OneGenModel, "submit", interrupt)
        assert evaluate(model, *BM25, "--batch", "1") == 130
    [line] = [one for one in capsys.readouterr().err.splitlines() if one.startswith("onegen")]
    assert line == "onegen: stopped; run the same command again to continue in run"
    assert list(RunFolder.open(here / "run").traces()) == ["q1"]
    with (here / "run" / "traces.jsonl").open("a") as file:
        file.write('{"question_id": "q2", "eve')  # what a kill leaves
    asked.clear()
    assert evaluate(model, *BM25, "--batch", "1") == 0
    assert asked == [BORG]
    assert evaluate(model, *BM25) == 0
    assert asked == [BORG]
    stopped = read_scores("run")[QUALITY]["run"]
    evaluate(model, *BM25[:-4], "--out", "whole", "--retriever", "bm25")
    assert stopped == read_scores("whole")[QUALITY]["whole"]


def test_what_a_stopped_run_has_not_ranked_is_left_out(
    model: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(model, *BM25)
    file = Path("run/rankings.jsonl")
    first, _ = file.read_text().splitlines(keepends=True)
    file.write_text(first)
    assert evaluate(None, "--score", "run", "--out", "table") == 0
    assert "run: 1 questions, not ranked yet, are left out" in caplog.text
    assert values(QUALITY, "run", "table")["questions"] == 1


def test_a_question_asked_again_is_ranked_again(model: OneGenModel, asked: list[str]) -> None:
    evaluate(model, *BM25)
    traces = Path("run/traces.jsonl")
    first, _ = traces.read_text().splitlines(keepends=True)
    traces.write_text(first)
    changed = {**SCRIPT, BORG: "Which city has Borg Tower?[RQ] Rome\n<FINAL-ANSWER> red"}
    assert evaluate(model, *BM25, script=changed) == 0
    assert asked == [ARDEN, BORG, BORG]
    rankings = [json.loads(line) for line in Path("run/rankings.jsonl").read_text().splitlines()]
    assert [one["asked"] for one in rankings if one["question_id"] == "q2"] == [
        ["Where is Borg Tower?"],
        ["Which city has Borg Tower?"],
    ]


def test_a_run_over_candidates_grows_in_the_same_pool(model: OneGenModel, asked: list[str]) -> None:
    for limit in (("--limit", "1"), ()):
        assert evaluate(model, *RUN, "--pool", "candidates", *limit) == 0
    assert asked == [ARDEN, BORG]


def test_runs_are_compared_on_the_questions_that_all_hold(
    model: OneGenModel, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    base = RUN[:-2]
    evaluate(model, *base, "--out", "runs/bm25", "--retriever", "bm25")
    evaluate(model, "--task", "multihop", "--retrieval", "never", "--out", "runs/never")
    evaluate(model, *base, "--retriever", "bm25", "--limit", "1", "--out", "runs/one")
    capsys.readouterr()
    assert evaluate(None, "--score", "runs/bm25", "runs/never", "--out", "both") == 0
    assert values(BEHAVIOUR, "never", "both")["retrievals"] == 0
    assert "recall@1" not in values(QUALITY, "never", "both")
    assert values(QUALITY, "bm25", "both")["questions"] == 2
    answers = values(QUALITY, "never", "both")["EM"] - values(QUALITY, "bm25", "both")["EM"]
    assert values(DIFFERENCES, "never", "both")["EM"] == answers
    assert "Scored" not in caplog.text
    assert evaluate(None, "--score", "runs", "--out", "all") == 0
    assert values(QUALITY, "bm25", "all")["questions"] == 1
    assert "Scored on the 1 questions" in caplog.text


def test_the_question_can_be_the_query(model: OneGenModel) -> None:
    evaluate(model, *BM25, "--query", "question")
    [first, second] = RunFolder.open(Path("run")).traces().values()
    # Asked with the question, the second hop finds nothing new that shares a word with it.
    found = [[hit.passage.id for hit in event.passages] for event in first.inserted]
    assert found[0] == ["p1#0"]
    assert found[1] != ["p1#0"]
    assert second.inserted[0].passages[0].passage.id == "p4#0"
    assert values(HOPS, "run, hop 2")["recall@5"] == 1


def test_each_question_may_search_its_own_candidates_alone(model: OneGenModel) -> None:
    evaluate(model, *RUN, "--pool", "own", "--baselines", "bm25", "--retrieval", "always")
    run = RunFolder.open(Path("run"))
    own = {row["id"]: set(row["candidates"]) for row in QUESTIONS}
    for ranking in run.rankings():
        assert {one for hop in ranking.hops for one in hop} <= own[ranking.question_id]
    for trace in run.traces().values():
        found = {hit.passage.metadata["paragraph"] for e in trace.inserted for hit in e.passages}
        assert found <= own[trace.question_id]


def test_single_hop_questions_know_aliases(model: OneGenModel, here: Path) -> None:
    row = {
        **QUESTIONS[1],
        "answer": "red",
        "aliases": ["blue green"],
        "hops": [{"paragraph_id": "p3"}],
    }
    write_lines(here / "questions.jsonl", [row, {"id": "q3", "answerable": False}])
    task = ("--task", "singlehop", *BM25[2:])
    assert evaluate(model, *task) == 0
    assert values(QUALITY, "run")["EM"] == 1
    assert list(read_scores("run")[HOPS]) == ["run, hop 1"]


def test_the_retrieval_task_ranks_and_writes_nothing(
    model: OneGenModel, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    task = ("--task", "retrieval", "--corpus", "corpus.jsonl", "--out", "run")
    assert evaluate(model, *task, "--baselines", "bm25") == 0
    assert asked == []
    scores = read_scores("run")
    assert list(scores[QUALITY]) == ["run", "run: BM25 (question)"]
    assert "EM" not in scores[QUALITY]["run"]
    assert BEHAVIOUR not in scores
    # Four paragraphs, all of which our own index ranks.
    assert values(QUALITY, "run")["recall@5"] == 1
    first = capsys.readouterr().out
    assert evaluate(None, "--score", "run") == 0
    assert capsys.readouterr().out == first


def test_a_whole_table_as_json(model: OneGenModel, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(model, *BM25, "--json")
    assert json.loads(capsys.readouterr().out) == read_scores("run")
    assert "| run | 2 | 0.50 ±0.35 |" in Path("run/table.md").read_text()


def test_the_world_of_these_tests_is_whole() -> None:
    assert {one["question"] for one in QUESTIONS} == set(SCRIPT)
    gold = {hop["paragraph_id"] for one in QUESTIONS for hop in one["hops"]}
    assert gold == {name for name, _, _ in PARAGRAPHS}
