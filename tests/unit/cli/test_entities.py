"""`onegen entities`: what it prints, its exit statuses, how it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel, Passage, PassageIndex, entity_passage
from onegen_model.cli import main
from tests.support.entities import EntityModel, records, write_records
from tests.support.fake_model import fails, run
from tests.support.linking_model import linking_model

ROOT = Path(__file__).parents[3]
ARGV = ("entities", "e.jsonl", "--out", "out")


@pytest.fixture
def model() -> EntityModel:
    return EntityModel()


@pytest.fixture
def file(here: Path) -> Path:
    return write_records(here / "e.jsonl", records(30))


def test_entities(model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"id": "L", "name": "Long", "description": "word " * 100}
    write_records(file, [*records(30), long])
    assert run(model, *ARGV) == 0
    out, err = capsys.readouterr()
    assert model.loaded == ("entity-linking", "float32")
    assert err.startswith("31 entities, 31 to embed; the index takes about ")
    assert "kB of memory beside the model, up to twice as much while it grows\n" in err
    assert out == (
        "out: 31 entities (31 embedded now, 1 of them cut to the model's passage length; given: "
        "31 new)\n"
    )
    write_records(Path("more.jsonl"), [*records(2, 29), {**records(1)[0], "name": "other"}])
    assert run(model, "entities", "more.jsonl", "--out", "out", "--dtype", "bfloat16") == 0
    assert capsys.readouterr().out == (
        "out: 32 entities (2 embedded now; given: 1 new, 1 changed, 1 unchanged)\n"
    )
    assert model.loaded[1] == "bfloat16"
    assert PassageIndex.load(model, "out").get("Q30") == entity_passage(records(1, 30)[0])


def test_in_json(model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, *ARGV, "--json") == 0
    estimate, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert estimate["estimate"].keys() == {
        *("given", "embedding", "seconds", "disk_bytes", "memory_bytes")
    }
    assert (estimate["estimate"]["given"], estimate["estimate"]["seconds"]) == (30, None)
    assert report == {
        "index": "out",
        "entities": 30,
        "added": 30,
        "changed": 0,
        "unchanged": 0,
        "embedded": 30,
        "reused": 0,
        "cut": 0,
        "problems": [],
    }


def test_the_time_of_many_is_shown(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(file, records(1000))
    assert run(model, *ARGV) == 0
    assert "1,000 entities, 1,000 to embed, about a second; the" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_embed() -> None:
        if len(model.embedded) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    model.on_embed = on_embed
    line = fails(capsys, model, *ARGV, "--batch", "10", status=130)
    assert line == (
        "onegen: stopped; 20 of 30 entities are in out; run the same command again to continue"
    )
    assert run(model, *ARGV) == 0
    assert "(10 embedded now; given: 10 new, 20 unchanged)" in capsys.readouterr().out


class Signalling:
    """A model that links; Ctrl-C is pressed when it embeds for the time number `at`."""

    def __init__(self, model: OneGenModel, at: int) -> None:
        self.model, self.left = model, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def embed_passages(self, passages: Sequence[Passage], **options: Any) -> Any:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        self.left -= 1
        return self.model.embed_passages(passages, **options)


@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_and_the_same_command_again_is_one_whole_run(
    at: int, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linking: Any = linking_model()

    def entities(out: str, model: Any = linking) -> int:
        argv = ("entities", "e.jsonl", "--batch", "8", "--out", out)
        return main(argv, load_model=lambda name, dtype: model)

    assert entities("whole") == 0
    assert entities("out", Signalling(linking, at)) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"onegen: stopped; {8 * (at + 1)} of 30 entities are in out; run")
    assert entities("out") == 0
    assert contents(Path("out")) == contents(Path("whole"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    listed = [one.id for one in PassageIndex.load(linking, "out").passages]
    assert listed == [row["id"] for row in rows]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


KILLED = """
import time
from onegen_model import EntityOptions, index_entities
from tests.support.entities import EntityModel

model = EntityModel()
model.on_embed = lambda: time.sleep(0.05)
index_entities(model, "e.jsonl", "out", options=EntityOptions(batch=1, save_every=0.0))
"""


def test_a_killed_run_goes_on(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", KILLED], env=python) as process:
        while not Path("out/manifest.json").is_file() or len(PassageIndex.load(model, "out")) < 5:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    kept = len(PassageIndex.load(model, "out"))
    assert 5 <= kept < 30
    assert run(model, *ARGV) == 0
    assert f"({30 - kept} embedded now" in capsys.readouterr().out


# --- bad input ---


def test_all_bad_lines_are_in_one_report(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(file, [*records(3), "no json", '{"id": "Q7"}'])
    assert run(model, *ARGV) == 2
    first, second, error = capsys.readouterr().err.splitlines()
    assert first.startswith("  e.jsonl:4: not JSON")
    assert second.startswith("  e.jsonl:5: entity 'Q7' has no name")
    assert error.startswith("onegen: error: 2 records cannot be used; expected")
    assert error.endswith("or go on without them with --skip-bad")
    assert (model.loaded, Path("out").exists()) == ((), False)


def test_not_more_than_twenty_bad_lines_are_named(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(file, ["no json"] * 23)
    assert run(model, *ARGV) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[19].startswith("  e.jsonl:20: ")
    assert lines[20] == "  and 3 more"
    assert len(lines) == 22


def test_bad_lines_are_skipped(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(file, [*records(3), "no json"])
    assert run(model, *ARGV, "--skip-bad") == 3
    out, err = capsys.readouterr()
    assert out.startswith("out: 3 entities (3 embedded")
    assert "onegen: 1 record was skipped:\n  e.jsonl:4: not JSON" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "Nothing given to `onegen entities`; expected one file"),
        (["a", "b", "--out", "out"], "2 files given"),
        (["import", "--out", "out"], "0 files given to `onegen entities import`"),
        (["import", "a", "b", "--out", "out"], "2 files given to `onegen entities import`"),
        (["e.jsonl", "--remove", "Q1"], "FILE and --remove given"),
        (["--list", "out", "--remove", "Q1"], "--list and --remove given"),
        (["e.jsonl"], "There is no --out"),
        (["--remove", "Q1"], "There is no --out"),
        (["e.jsonl", "--out", "out", "--entities", "e.jsonl"], "--entities is given without"),
        (["e.jsonl", "--out", "out", "--store-as", "float16"], "--store-as is given without"),
        (["--list", "out", "--skip-bad"], "--skip-bad is given without a file of entities"),
        (["none.jsonl", "--out", "out"], "No file none.jsonl"),
        (["import", "none.pkl", "--out", "out"], "No file none.pkl"),
        (["e.jsonl", "--out", "full"], "full is not an index"),
        (["import", "e.jsonl", "--out", "full"], "full is not an index"),
        (["import", "e.jsonl", "--out", "out"], "e.jsonl cannot be read"),
        (["--list", "out"], "There is no index at out"),
        (["--remove", "Q1", "--out", "out"], "There is no index at out"),
        (["--remove-listed", "none.txt", "--out", "out"], "none.txt cannot be used"),
        (["e.jsonl", "--out", "out", "--batch", "0"], "batch=0"),
    ],
)
def test_wrong_usage(
    argv: list[str],
    message: str,
    model: EntityModel,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    assert message in fails(capsys, model, "entities", *argv)
    assert (model.loaded, Path("out").exists()) == ((), False)


def test_a_model_that_does_not_link(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.can_link = False
    assert "not trained to link" in fails(capsys, model, *ARGV, "--model", "default")
    assert not Path("out").exists()
