"""`onegen evaluate --questions FILE --index DIR`: questions about one's own documents."""

import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.cli import main
from onegen_model.places import PassagePlace
from tests.support.evaluation_world import write_lines
from tests.support.script import scripted

DOCUMENTS = {
    "handbook/mill.md": ("Arden Mill belongs to Ada Berg.", "The mill has nine wheels."),
    "handbook/tower.md": ("Borg Tower stands in Rome.",),
}
OWNER, PLACE, WHEELS, HEIGHT = (
    "Who owns Arden Mill?",
    "Where is Borg Tower?",
    "How many wheels has the mill?",
    "How high is Borg Tower?",
)
QUESTIONS = (
    {"question": OWNER, "answer": ["Ada Berg", "A. Berg"], "source": "handbook/mill.md"},
    {"question": PLACE, "answer": "Rome", "source": "tower.md"},
    {"question": WHEELS, "answer": 9, "passage": "handbook/mill.md#1"},
    {"question": HEIGHT, "answer": None},
)
SCRIPT = {
    OWNER: f"{OWNER}[RQ] Ada Berg\n<FINAL-ANSWER> Ada Berg</FINAL-ANSWER>",
    PLACE: f"{PLACE}[RQ] x\n<FINAL-ANSWER> in Rome</FINAL-ANSWER>",
    WHEELS: "<FINAL-ANSWER></FINAL-ANSWER>",
    HEIGHT: f"{HEIGHT}[RQ]<FINAL-ANSWER></FINAL-ANSWER>",
}
TOP = ("--top-k", "1")


def passages() -> list[Passage]:
    return [
        Passage(place.passage_id, text, source, place.to_metadata())
        for source, texts in DOCUMENTS.items()
        for chunk, text in enumerate(texts)
        for place in [PassagePlace(source, source, chunk, len(texts))]
    ]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: OneGenModel) -> Path:
    monkeypatch.chdir(tmp_path)
    PassageIndex.build(model, passages()).save("my.index")
    write_lines(tmp_path / "qa.jsonl", QUESTIONS)
    return tmp_path


def evaluate(model: OneGenModel | None, *options: str, script: Mapping[str, str] = SCRIPT) -> int:
    def load(_path: str | None, _dtype: str) -> OneGenModel:
        assert model is not None, "a model was loaded"
        return model

    argv = ["evaluate", "--questions", "qa.jsonl", *options]
    if model is None:
        return main(argv, load)
    with scripted(model, script):
        return main(argv, load)


def saved(folder: Path) -> dict[str, dict[str, float]]:
    [scores] = json.loads((folder / "scores.json").read_text()).values()
    return dict(scores)


def run_of(own: Path) -> Path:
    [folder] = (own / "qa.evaluation").iterdir()
    return folder


def test_question_and_answer_are_enough(
    model: OneGenModel, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, "--index", "my.index", *TOP) == 0
    folder = run_of(own)
    scores = saved(folder)
    values = {name: round(one["value"], 3) for name, one in scores.items()}
    del values["seconds"]
    recalled = values.pop("recall@1"), values.pop("recall@5")
    assert values == {
        "exact match": 0.333,
        "F1": round((1 + 2 / 3) / 3, 3),
        "contains": 0.667,
        "false refusals": 0.333,
        "refusals": 1,
        "retrievals": 0.75,
    }
    # Three passages: each that was searched for is among the first five.
    assert recalled[0] <= recalled[1] == round(2 / 3, 3)
    assert scores["exact match"]["n"] == 3
    assert scores["refusals"]["n"] == 1
    table = capsys.readouterr().out
    assert "| exact match | 0.33 ±0.27 | 3 |" in table
    assert len(table.splitlines()) < 20
    assert str(folder.relative_to(own)) in table
    assert table.startswith((folder / "table.md").read_text())


def test_measures_without_questions_have_no_line(
    model: OneGenModel, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(own / "qa.jsonl", [{"question": OWNER, "answer": "Ada Berg"}])
    assert evaluate(model, "--index", "my.index") == 0
    table = capsys.readouterr().out
    assert "recall" not in table
    assert "\n| refusals" not in table


def test_the_same_command_goes_on_and_scores_again(
    model: OneGenModel, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    submit = OneGenModel.submit

    def count(model: OneGenModel, question: str, *options: Any) -> Any:
        if len(asked) == 1:
            signal.raise_signal(signal.SIGINT)
        asked.append(question)
        return submit(model, question, *options)

    monkeypatch.setattr(OneGenModel, "submit", count)
    command = ("--index", "my.index", "--batch", "1")
    assert evaluate(model, *command) == 130
    assert evaluate(model, *command) == 0
    assert [asked.count(one) for one in (OWNER, PLACE, WHEELS, HEIGHT)] == [1, 2, 1, 1]
    before = len(asked)
    assert evaluate(model, *command) == 0
    assert len(asked) == before


def test_a_question_whose_source_was_edited_is_ranked_again(model: OneGenModel, own: Path) -> None:
    write_lines(own / "qa.jsonl", [QUESTIONS[1] | {"source": "handbook/mill.md"}])
    evaluate(model, "--index", "my.index")
    write_lines(own / "qa.jsonl", [QUESTIONS[1]])
    evaluate(model, "--index", "my.index")
    rows = [json.loads(line) for line in (run_of(own) / "ranks.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == ["handbook/mill.md", "tower.md"]
    assert all(row["ranks"] != [None] for row in rows)


def test_an_index_that_has_grown_gets_a_run_of_its_own(model: OneGenModel, own: Path) -> None:
    assert evaluate(model, "--index", "my.index") == 0
    index = PassageIndex.load(model, "my.index")
    index.add([Passage("new", "Cary Bridge is old.")])
    index.save("my.index")
    assert evaluate(model, "--index", "my.index") == 0
    assert len(list((own / "qa.evaluation").iterdir())) == 2


def test_runs_are_scored_side_by_side_without_a_model(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = {**SCRIPT, OWNER: "<FINAL-ANSWER> nobody</FINAL-ANSWER>"}
    evaluate(model, "--index", "my.index", "--out", "runs/good")
    evaluate(model, "--index", "my.index", "--out", "runs/bad", script=worse)
    capsys.readouterr()
    assert evaluate(None, "--score", "runs/good", "runs/bad") == 0
    table = capsys.readouterr().out
    assert "| measure | good | bad | bad less good | questions |" in table
    assert "| exact match | 0.33 ±0.27 | 0.00 ±0.00 | -0.33 ±0.27 | 3 |" in table


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ['{"answer": "x"}', '{"question": "Why?", "answer": "x"}', '{"question": "Why?"}'],
            ["qa.jsonl:1: question: missing; expected some text", "qa.jsonl:3: answer: missing"],
        ),
        (
            ['{"question": "Why?", "answer": "x"}'] * 2,
            ["qa.jsonl:2: question: the same as in qa.jsonl:1"],
        ),
        (['{"question": "Why?", "answer": []}'], ["qa.jsonl:1: answer: []; expected some text"]),
        (
            ['{"question": "Why?", "answer": "x", "aliases": "xyz"}'],
            ["qa.jsonl:1: aliases: 'xyz'; expected a list of texts"],
        ),
        (['{"question": " ", "answer": "x"}'], ["qa.jsonl:1: question: ' '; expected some text"]),
        (['{"question": '], ["qa.jsonl:1: line: not JSON"]),
        ([], ["qa.jsonl holds no question; expected at least one"]),
        (
            [
                '{"question": "Why?", "answer": "x", "source": "mil.md"}',
                '{"question": "Who?", "answer": "x", "source": "gone.pdf"}',
            ],
            [
                "qa.jsonl:1: source: 'mil.md' (did you mean 'handbook/mill.md'?)",
                "qa.jsonl:2: source: 'gone.pdf'",
                "expected a source with a passage in the index",
            ],
        ),
    ],
)
def test_bad_questions_are_named_before_a_model_is_loaded(
    own: Path, capsys: pytest.CaptureFixture[str], lines: list[str], said: list[str]
) -> None:
    (own / "qa.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert evaluate(None, "--index", "my.index") == 2
    error = capsys.readouterr().err
    assert [one for one in said if one not in error] == []
    assert not (own / "qa.evaluation").exists()


@pytest.mark.parametrize(
    ("answer", "gold", "contained"),
    [
        ("It takes 6  Weeks.", "6 weeks", 1.0),
        ("It takes 16 weeks.", "6 weeks", 0.0),
        ("north", "no", 0.0),
        ("3.15", "3.1", 0.0),
    ],
)
def test_an_answer_contains_whole_words(
    model: OneGenModel, own: Path, answer: str, gold: str, contained: float
) -> None:
    row = {"question": PLACE, "answer": gold}
    (own / "qa.jsonl").write_text(json.dumps(row))
    script = {PLACE: f"{PLACE}[RQ]<FINAL-ANSWER> {answer}</FINAL-ANSWER>"}
    evaluate(model, "--index", "my.index", "--out", "run", script=script)
    assert saved(own / "run")["contains"]["value"] == contained


def test_an_index_of_another_model_is_refused(
    model: OneGenModel, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = own / "my.index" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(model.fingerprint, "1" * 64))
    assert evaluate(model, "--index", "my.index") == 2
    assert "my.index was embedded by another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--index", "my.index", "--baselines", "bm25"], "--baselines without --task"),
        (["--index", "my.index", "--zero-shot"], "--zero-shot without --task"),
        (["--index", "my.index", "--batch", "0"], "batch=0; expected at least 1"),
        (["--index", "gone"], "gone"),
        ([], "name --index alone to ask about your own documents"),
    ],
)
def test_options_that_contradict_are_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert evaluate(None, *options) == 2
    assert said in capsys.readouterr().err


def test_without_retrieval_nothing_is_ranked(model: OneGenModel, own: Path) -> None:
    assert evaluate(model, "--index", "my.index", "--retrieval", "never") == 0
    assert "recall@1" not in saved(run_of(own))
    assert saved(run_of(own))["retrievals"]["value"] == 0


def test_the_python_of_the_guide_runs(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / "evaluation.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    with scripted(model, SCRIPT):
        exec(compile(code, "evaluation.md", "exec"), {"model": model})
    assert "| exact match | 0.33 ±0.27 | 3 |" in capsys.readouterr().out


def test_an_empty_search_is_a_refusal(model: OneGenModel, own: Path) -> None:
    limits = ("--min-score", "2", "--not-found", "Nothing here.")
    assert evaluate(model, "--index", "my.index", *limits) == 0
    scores = saved(run_of(own))
    assert scores["refusals"]["value"] == 1
    assert scores["false refusals"]["value"] == 1  # nothing has such a score
    assert scores["exact match"]["value"] == 0
