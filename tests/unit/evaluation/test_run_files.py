"""Files of a run: traces, settings and tables that are damaged, misplaced or missing."""

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.evaluation import RunFolder, find_runs
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


def test_another_run_in_the_same_folder_is_refused_and_loses_nothing(
    model: OneGenModel, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "traces.jsonl").read_bytes()
    assert evaluate(model, *RUN, "--top-k", "1", "--query", "question") == 2
    said = capsys.readouterr().err
    assert "run holds another run (query 'span', not 'question'; top_k 2, not 1)" in said
    assert (run / "traces.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"question_id": "q9"}, "run holds question q9, which is not in"),
        (
            lambda row: row | {"question": "Why?"},
            "run holds question q2 with another text ('Why?')",
        ),
        (lambda row: row | {"events": row["events"][:-1]}, "traces.jsonl:2 cannot be read"),
        (lambda row: row | {"events": [{"event": "Dance"}]}, "traces.jsonl:2 cannot be read"),
        (lambda row: row | {"seconds": "long"}, "traces.jsonl:2 cannot be read"),
        (lambda row: {}, "traces.jsonl:2 cannot be read (KeyError: 'events')"),
    ],
)
def test_a_trace_that_cannot_be_scored_is_named(
    change: Callable[[dict[str, Any]], Any],
    said: str,
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (run / "traces.jsonl").read_text().splitlines()
    changed = json.dumps(change(json.loads(second)))
    (run / "traces.jsonl").write_text(f"{first}\n{changed}\n")
    assert evaluate(None, "--score", "run") == 2
    assert said in capsys.readouterr().err


def test_traces_of_other_questions_are_not_scored(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(here / "questions.jsonl", [{**QUESTIONS[0], "id": "other"}])
    assert evaluate(None, "--score", "run") == 2
    assert "question q1, which is not in the file" in capsys.readouterr().err


def test_looking_at_a_run_changes_nothing_in_it(run: Path) -> None:
    with (run / "traces.jsonl").open("a") as file:
        file.write('{"half')
    before = (run / "traces.jsonl").read_bytes()
    assert evaluate(None, "--score", "run") == 0
    assert (run / "traces.jsonl").read_bytes() == before


def test_a_table_that_cannot_be_written_is_reported(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(None, "--score", "run", "--out", "questions.jsonl") == 2
    assert "questions.jsonl cannot be written" in capsys.readouterr().err


def test_a_run_killed_while_it_is_made_leaves_no_half_settings(
    model: OneGenModel, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def torn(path: Path, text: str, **options: Any) -> int:
        write(path, text[:9], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Path, "write_text", torn)
        assert evaluate(model, *RUN) == 130
    assert evaluate(model, *RUN) == 0
    assert sorted(path.name for path in (here / "run").glob("settings*")) == ["settings.json"]


def test_settings_that_are_damaged_are_named(run: Path) -> None:
    (run / "settings.json").write_text('{"format": 7}')
    with pytest.raises(InvalidInputError, match=r"settings\.json cannot be read"):
        RunFolder.open(run)


def test_runs_of_the_same_name_are_named_by_their_paths(run: Path, here: Path) -> None:
    (here / "b").mkdir()
    (here / "b" / "run").symlink_to(run)
    assert list(find_runs([run, here / "b" / "run"])) == ["run"]
    (here / "b" / "run").unlink()
    (here / "b" / "run").mkdir()
    (here / "b" / "run" / "settings.json").write_bytes((run / "settings.json").read_bytes())
    assert list(find_runs([Path("run"), Path("b/run")])) == ["run", "b/run"]


@pytest.mark.parametrize("package", ["bm25s", "pytrec_eval"])
def test_a_missing_package_names_its_extra(
    package: str, model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'run `pip install "onegen\[evaluate\]"`'):
        evaluate(model, *RUN, "--debug")
    assert not Path("run/traces.jsonl").exists()  # nothing was asked in vain
