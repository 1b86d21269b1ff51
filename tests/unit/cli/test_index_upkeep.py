"""`onegen index --list`, `--remove`, `--prune` and `--watch`."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from onegen_model.cli import main
from onegen_model.errors import PassageIndexError
from onegen_model.indexing import watching
from onegen_model.retrieval.index import PassageIndex
from tests.support.embedded_corpora import make
from tests.support.embedded_corpora import passages as embedded
from tests.support.fake_model import FakeModel, fails, run
from tests.support.indexes import passages


def no_model(path_or_id: str | None, dtype: str) -> NoReturn:
    raise AssertionError("The model is loaded")


def upkeep(*argv: str) -> int:
    """A run that has no model."""
    return main(["index", *argv], load_model=no_model)


@pytest.mark.parametrize("argv", [["--list", "my.index"], ["--list", "--out", "my.index"]])
def test_list(argv: list[str], docs: Path, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "short.txt").unlink()
    assert upkeep(*argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["passages", "characters", "pages", "source"]
    assert lines[1].split() == ["100", "690", "docs/rows.jsonl"]
    assert lines[2].split(maxsplit=2)[:2] == ["1", "13"]
    assert lines[2].endswith("docs/short.txt (the file is missing)")
    assert lines[3] == "my.index: 101 passages of 2 files"


def test_list_as_json(model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = PassageIndex.load(model, index)
    built.add(passages(3))
    built.save(index)
    assert upkeep("--list", "my.index", "--json") == 0
    rows, short, others = map(json.loads, capsys.readouterr().out.splitlines())
    assert rows == {
        "source": "docs/rows.jsonl",
        "documents": 100,
        "passages": 100,
        "characters": 690,
        "pages": None,
        "missing": False,
    }
    assert (short["source"], short["passages"]) == ("docs/short.txt", 1)
    assert others == {"source": None, "passages": 3}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("docs/short.txt", 100),  # a source
        ("docs/rows.jsonl", 1),
        ("docs", 0),  # a folder
        ("docs/", 0),
        ("r7", 100),  # a document
        ("r7#0", 100),  # a passage
    ],
)
def test_remove(
    name: str, left: int, model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upkeep("--remove", name, "--out", "my.index") == 0
    assert f"my.index: {101 - left} passage" in capsys.readouterr().out
    found = PassageIndex.load(model, index)
    assert len(found) == left
    assert model.embedded == []


def test_a_path_is_removed_from_any_working_directory(
    model: FakeModel, docs: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs)
    assert upkeep("--remove", "short.txt", "--out", "../my.index") == 0
    assert len(PassageIndex.load(model, index)) == 100


def test_a_removed_record_comes_back_with_the_next_sync(model: FakeModel, index: Path) -> None:
    assert upkeep("--remove", "r7", "--out", "my.index") == 0
    assert run(model, "index", "docs", "--out", "my.index") == 0
    assert model.embedded == ["r7#0"]
    assert len(PassageIndex.load(model, index)) == 101


def test_an_unknown_name_removes_nothing(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "index", "--remove", "r7", "r700", "--out", "my.index")
    assert "my.index holds nothing of 'r700'; expected a source" in line
    line = fails(capsys, model, "index", "--remove", "r7", "--out", "missing.index")
    assert "There is no index at missing.index" in line
    assert not Path("missing.index").exists()
    assert len(PassageIndex.load(model, index)) == 101


def test_an_empty_folder_is_scanned_as_nothing(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in docs.iterdir():
        file.unlink()
    assert run(model, "index", "docs", "--out", "my.index", "--prune") == 0
    assert "Scan: 0 files\nNothing to embed, and 2 files to remove\n" in capsys.readouterr().err


def test_prune(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / "rows.jsonl").unlink()
    assert upkeep("--prune", "--out", "my.index", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "index": "my.index",
        "removed": 100,
        "documents": 100,
    }
    assert upkeep("--prune", "--out", "my.index") == 0
    assert "0 passages of 0 documents removed" in capsys.readouterr().out
    (docs / "short.txt").unlink()
    line = fails(capsys, model, "index", "--prune", "--out", "my.index")
    assert "None of the 1 files of my.index exists; expected the index beside its doc" in line
    assert len(PassageIndex.load(model, index)) == 1


def test_an_embedded_corpus_is_not_turned_into_an_index(
    model: FakeModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(here / "my.corpus", embedded(50))
    assert upkeep("--list", "my.corpus") == 0
    assert "my.corpus: 50 passages of 0 files" in capsys.readouterr().out
    line = fails(capsys, model, "index", "--remove", "p7", "--out", "my.corpus")
    assert "my.corpus is a corpus of `onegen embed`; expected an index" in line


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "Nothing is given to index"),
        (["docs"], "There is no --out"),
        (["--list"], "There is no --out"),
        (["docs", "--list", "my.index"], "PATH and --list are given; expected one"),
        (["--list", "x", "--prune"], "--list and --prune are given; expected one"),
        (["docs", "--out", "x", "--prune", "--keep-missing"], "keep_missing and prune"),
        (["--remove", "docs", "--out", "my.index", "--dry-run"], "--scan is given without files"),
        (["--prune", "--out", "my.index", "--exclude", "a"], "--exclude is given without files"),
        (["docs", "--out", "x", "--scan", "--watch"], "--scan and --watch are given"),
    ],
)
def test_wrong_usage_is_explained(
    argv: list[str], expected: str, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in fails(capsys, model, "index", *argv)


def test_watch_follows_changes_with_one_model_until_ctrl_c(
    model: FakeModel,
    docs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching.watch_files, "__kwdefaults__", {"pause": 0.1})
    loads: list[object] = []
    (docs / "note.txt").write_text("first")

    def load(path_or_id: str | None, dtype: str) -> FakeModel:
        loads.append(path_or_id)
        return model

    def texts() -> set[str]:
        try:
            return {passage.text for passage in PassageIndex.load(model, "my.index").passages}
        except PassageIndexError:  # It is not there yet.
            return set()

    def wait_for(text: str) -> None:
        end = time.monotonic() + 20
        while text not in texts():
            assert time.monotonic() < end, text
            time.sleep(0.05)

    def change() -> None:
        try:
            wait_for("first")
            (docs / "note.txt").write_text("second")
            wait_for("second")
            (docs / "bad.jsonl").write_text("nonsense")
            time.sleep(0.5)
            (docs / "bad.jsonl").unlink()
            (docs / "more.txt").write_text("third")
            wait_for("third")
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    changes = threading.Thread(target=change)
    changes.start()
    status = main(["index", "docs", "--out", "my.index", "--watch"], load_model=load)
    changes.join()
    captured = capsys.readouterr()
    assert status == 0
    assert len(loads) == 1
    assert "onegen: watching; Ctrl-C ends it" in captured.err
    assert "onegen: error: docs/bad.jsonl: " in captured.err
    assert model.embedded.count("docs/note.txt#0") == 2
    assert captured.out.count("embedded now") == 3, "its own saves are no changes"


def test_a_watched_file_that_is_replaced_is_followed(docs: Path) -> None:
    seen: list[None] = []
    stop = threading.Event()

    def watch() -> None:
        out = docs.parent / "my.index"
        for _ in watching.watch_files([docs / "short.txt"], out, stop.is_set, pause=0.1):
            seen.append(None)

    thread = threading.Thread(target=watch)
    thread.start()
    for n in range(1, 3):
        time.sleep(0.5)
        (docs / "new").write_text(f"version {n}")
        (docs / "new").replace(docs / "short.txt")
        end = time.monotonic() + 20
        while len(seen) < n and time.monotonic() < end:
            time.sleep(0.05)
        assert len(seen) >= n
    stop.set()
    thread.join()


def test_watching_names_the_package_that_is_missing(
    model: FakeModel,
    docs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    line = fails(capsys, model, "index", "docs", "--out", "my.index", "--watch")
    assert (
        'watchfiles is not installed; expected it for watching files; run `pip install "on' in line
    )
    assert model.loaded == ()
