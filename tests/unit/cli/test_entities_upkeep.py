"""`onegen entities --list`, `--remove` and `import`."""

import json
import os
import pickle
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from onegen_model import PassageIndex, entity_passage
from onegen_model.cli import main
from tests.support.entities import EntityModel, records, write_published, write_records
from tests.support.fake_model import fails, run

ARGV = ("entities", "e.jsonl", "--out", "out")


@pytest.fixture
def model() -> EntityModel:
    return EntityModel()


@pytest.fixture
def file(here: Path) -> Path:
    return write_records(here / "e.jsonl", records(30))


@pytest.fixture
def index(model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(model, *ARGV) == 0
    capsys.readouterr()
    return file.parent / "out"


def upkeep(*argv: str) -> int:
    """A run that has no model."""

    def no_model(path_or_id: str | None, dtype: str) -> NoReturn:
        raise AssertionError("The model is loaded")

    return main(["entities", *argv], load_model=no_model)


# --- upkeep ---


@pytest.mark.parametrize("argv", [["--list", "out"], ["--list", "--out", "out"]])
def test_list(argv: list[str], index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep(*argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"Q0\tname 0", "Q1\tname 1\tthing 1 word"} < set(lines)
    assert lines[-1] == "out: 30 entities"


def test_list_as_json(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upkeep("--list", "out", "--json") == 0
    rows = {row["id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert len(rows) == 30
    assert rows["Q0"]["description"] is None
    assert rows["Q1"] == {
        "id": "Q1",
        "name": "name 1",
        "description": "thing 1 word",
        "metadata": {"types": ["thing"]},
    }


def test_remove(model: EntityModel, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gone.txt").write_text("Q3\n\nQ4\r\n")
    assert upkeep("--remove", "Q1", "Q2", "--remove-listed", "gone.txt", "--out", "out") == 0
    assert capsys.readouterr().out == "out: 4 entities removed\n"
    held = {entity.id for entity in PassageIndex.load(model, index).passages}
    assert held == {row["id"] for row in records(30)} - {"Q1", "Q2", "Q3", "Q4"}
    assert upkeep("--remove", "Q5", "--out", "out", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"index": "out", "removed": 1}


def test_an_unknown_id_removes_nothing(
    model: EntityModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "entities", "--remove", "Q1", "no", "W:No", "--out", "out")
    assert line.startswith("onegen: error: out holds no entity 'no', 'W:No'; expected ids")
    assert len(PassageIndex.load(model, index)) == 30


# --- import ---


def published(model: EntityModel, path: str = "e.pkl", count: int = 20) -> None:
    entities = [entity_passage(row) for row in records(count)]
    rows = torch.from_numpy(model.embed_passages(entities)).bfloat16()
    write_published(Path(path), rows, [one.id for one in entities])


def test_import(model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(model)
    argv = ("entities", "import", "e.pkl", "--out", "out", "--entities", "e.jsonl")
    assert run(model, *argv, "--model", "mine", "--store-as", "float16") == 0
    assert model.loaded[0] == "mine"
    out, err = capsys.readouterr()
    assert out == "out: 20 entities (10 entities of the list without a vector)\n"
    assert err == "20 vectors of dimension 8; the index takes about 320 bytes on disk\n"
    assert run(model, "entities", "import", "e.pkl", "--out", "bare", "--json") == 0
    estimate, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert estimate == {"estimate": {"given": 20, "dimension": 8, "disk_bytes": 640}}
    assert report == {
        "index": "bare",
        "entities": 20,
        "unnamed": 20,
        "without_vector": 0,
        "repeated": 0,
        "agreement": None,
    }
    assert PassageIndex.load(model, "out").get("Q1") == entity_passage(records(2)[1])
    assert run(model, *ARGV) == 0
    assert "(10 embedded now; given: 10 new, 20 unchanged)" in capsys.readouterr().out


def test_an_import_of_another_model_is_doubted(
    model: EntityModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(Path("e.pkl"), torch.randn(5, 8), [f"Q{n}" for n in range(5)])
    argv = ("entities", "import", "e.pkl", "--out", "out", "--entities", "e.jsonl")
    assert run(model, *argv) == 0
    assert "onegen: the vectors are probably of another model" in capsys.readouterr().err


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def test_a_malicious_pickle_is_refused_before_a_model_is_loaded(
    model: EntityModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("e.pkl").write_bytes(pickle.dumps((torch.ones(1, 8), [Malicious()])))
    line = fails(capsys, model, "entities", "import", "e.pkl", "--out", "out")
    assert line.startswith(
        "onegen: error: e.pkl asks for posix.system, which was not run; expected"
    )
    assert not Path("canary").exists()
    assert not Path("out").exists()
    assert model.loaded == ()


def test_a_file_may_be_called_import(
    model: EntityModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(here / "import", records(3))
    assert run(model, "entities", "./import", "--out", "out") == 0
    assert capsys.readouterr().out.startswith("out: 3 entities")
