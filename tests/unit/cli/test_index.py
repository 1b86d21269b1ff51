"""`onegen index`: what it adds, refuses, saves and continues."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from array import array
from pathlib import Path

import pytest

from onegen_model import IndexingOptions, grow_index
from onegen_model.events import Query
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import unit
from tests.support.fake_model import ROOT, FakeModel, fails, run


def test_one_passage_is_singular(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs.parent / "note.md").write_text("One line.", encoding="utf-8")
    assert run(model, "index", "note.md", "--out", "one.index") == 0
    assert "one.index: 1 passage (1 embedded now" in capsys.readouterr().out


def test_index(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "long.md").write_text("# Long\n\n" + "word " * 100)
    assert run(model, "index", "docs", "--out", "my.index", "--batch", "7") == 0
    captured = capsys.readouterr()
    assert "(104 embedded now, 0 removed; files: 3 new)" in captured.out
    assert "Scan: 3 files (1 jsonl, 1 md, 1 txt), " in captured.err
    assert "3 new or changed, 0 unchanged: about 104 passages; the index will take" in captured.err
    index = PassageIndex.load(model, "my.index")
    assert {"docs/short.txt#0", "r0#0", "docs/long.md#0", "docs/long.md#2"} <= {
        passage.id for passage in index.passages
    }


def test_index_adds_follows_changes_and_keeps_the_rest(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / "new.txt").write_text("new")
    (docs / "short.txt").write_text("changed")
    rows = (docs / "rows.jsonl").read_text().splitlines()
    (docs / "rows.jsonl").write_text("\n".join(rows[:90]))
    assert run(model, "index", "docs", "--out", "my.index", "--json") == 0
    assert model.embedded == ["docs/new.txt#0", "docs/short.txt#0"]
    scan, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert scan["scan"]["files"] == 3
    assert report == {
        "index": "my.index",
        "passages": 92,
        "embedded": 2,
        "reused": 0,
        "removed": 10,
        "files": {"added": 1, "changed": 2, "moved": 0, "removed": 0, "unchanged": 0},
        "failed": [],
    }
    (docs.parent / "other.txt").write_text("other")
    assert run(model, "index", "other.txt", "--out", "my.index") == 0
    assert len(PassageIndex.load(model, index)) == 93


def test_a_file_read_from_another_folder_is_indexed_once(
    model: FakeModel, docs: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs)
    assert run(model, "index", ".", "--out", str(index)) == 0
    assert len(PassageIndex.load(model, index)) == 101


def test_two_files_never_share_an_id(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = docs.parent / "more.jsonl"
    more.write_text(json.dumps({"id": "r1", "text": "something else"}))
    line = fails(capsys, model, "index", "docs", "more.jsonl", "--out", "new.index")
    assert "more.jsonl:1 has the same id 'r1' as docs/rows.jsonl:2; expected one" in line
    for paths in (["docs", "more.jsonl"], ["more.jsonl"]):
        line = fails(capsys, model, "index", *paths, "--out", "my.index")
        assert "my.index already holds another passage with the id 'r1#0', from docs/rows" in line
    assert PassageIndex.load(model, index).retrieve(
        [Query(array("f", unit("title 1text 1")), "", 1)]
    )[0][0].score == pytest.approx(1.0, abs=1e-6)


def test_index_of_nothing(model: FakeModel, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    (here / "image.png").write_bytes(b"\x89PNG")
    (here / "fake.txt").write_bytes(b"\x89PNG\xff\x00\x01")
    (here / "blank.txt").write_text("\n")
    (here / "bad.jsonl").write_text('{"text": "a"}\nnonsense')
    cases = {
        "empty": "The folder empty holds no documents",
        "missing": "There is no file or folder missing",
        "image.png": "image.png is of an unknown kind",
        "fake.txt": "fake.txt: it is not text",
        "blank.txt": "All documents are empty",
        "bad.jsonl": "bad.jsonl: line 2 is not JSON",
    }
    for path, expected in cases.items():
        assert run(model, "index", path, "--out", "my.index") == 2
        assert f"onegen: error: {expected}" in capsys.readouterr().err
        assert not Path("my.index").exists(), "no empty index is left behind"
    assert model.embedded == []


def test_index_into_a_bad_place_fails_before_any_work(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "index", "docs", "--out", "docs")
    assert "docs is not an index; expected a new or empty folder" in line
    line = fails(capsys, model, "index", "docs", "--out", "docs/short.txt")
    assert "docs/short.txt is not an index" in line
    for path in ("docs/short.txt/x", "/proc/onegen"):
        line = fails(capsys, model, "index", "docs", "--out", path)
        assert f"cannot be written to {path}" in line
    line = fails(capsys, model, "index", "docs", "--out", "x", "--batch", "0")
    assert "batch=0; expected at least 1" in line
    assert model.embedded == []
    assert (docs / "short.txt").read_text() == "Ada Wrenfield"


def test_index_of_another_model_stays_as_it_was(
    docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = FakeModel(fingerprint="0" * 64)
    line = fails(capsys, other, "index", "docs", "--out", "my.index")
    assert "was embedded by another model" in line
    assert len(PassageIndex.load(FakeModel(), index)) == 101


def test_a_damaged_index_is_refused(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [vectors] = index.glob("vectors-*")
    vectors.write_bytes(vectors.read_bytes()[:-5])
    for argv in (["index", "docs", "--out", "my.index"], ["ask", "who?", "--index", "my.index"]):
        assert f"holds {vectors.name} damaged" in fails(capsys, model, *argv)


def test_ctrl_c_saves_and_the_same_command_continues(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt_at_the_third_batch() -> None:
        if len(model.embedded) == 20:
            signal.raise_signal(signal.SIGINT)

    model.on_embed = interrupt_at_the_third_batch
    argv = ["index", "docs", "--out", "my.index", "--batch", "10"]
    line = fails(capsys, model, *argv, status=130)
    assert "30 of 101 passages are in my.index; run the same command again" in line
    assert len(PassageIndex.load(model, "my.index")) == 30
    model.on_embed = None
    assert run(model, *argv) == 0
    assert len(model.embedded) == len(set(model.embedded)) == 101


def test_two_ctrl_c_stop_at_once(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell put us in the background
    model.on_embed = interrupt_twice
    assert fails(capsys, model, "index", "docs", "--out", "my.index", status=130) == (
        "onegen: stopped"
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert len(PassageIndex.load(model, "my.index")) == 0


def test_a_failure_saves_finished_passages(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        if len(model.embedded) == 20:
            raise MemoryError

    model.on_embed = fail
    line = fails(capsys, model, "index", "docs", "--out", "my.index", "--batch", "10")
    assert "Out of memory" in line
    assert "--batch (now 10)" in line
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_saves_now_and_then(model: FakeModel, docs: Path) -> None:
    sizes = []
    model.on_embed = lambda: sizes.append(len(PassageIndex.load(FakeModel(), "my.index")))
    growth = grow_index(model, ["docs"], "my.index", options=IndexingOptions(25, save_every=0))
    assert (growth.passages, growth.embedded, growth.is_whole) == (101, 101, True)
    assert sizes == [0, 25, 50, 75, 100]


def test_after_a_kill_indexing_continues_from_the_last_save(docs: Path) -> None:
    script = """
        import os, signal, sys
        from onegen_model import IndexingOptions, grow_index
        from tests.support.fake_model import FakeModel
        model = FakeModel()
        def kill():
            if len(model.embedded) == 60:
                os.kill(os.getpid(), signal.SIGKILL)
        model.on_embed = kill
        grow_index(model, ["docs"], "my.index", options=IndexingOptions(10, save_every=0))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    model = FakeModel()
    assert len(PassageIndex.load(model, "my.index")) == 60
    assert run(model, "index", "docs", "--out", "my.index") == 0
    assert len(model.embedded) == 41


def test_a_scan_writes_nothing(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"text {n}", "title": f"title {n}"} for n in range(3000)]
    (docs / "more.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for flag in ("--scan", "--dry-run"):
        assert run(model, "index", "docs", "--out", "my.index", flag) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "3 new or changed, 0 unchanged: about 3101 passages, " in captured.err
        assert " of embedding; the index will take " in captured.err
    assert run(model, "index", "docs", "--out", "my.index", "--scan", "--json") == 0
    scan = json.loads(capsys.readouterr().out)["scan"]
    assert scan["kinds"]["jsonl"]["files"] == 2
    assert (scan["passages"], scan["unchanged"], scan["gone"]) == (3101, 0, 0)
    assert scan["seconds"] > 0
    assert len(set(model.embedded)) <= 16, "a short measurement"
    assert not Path("my.index").exists()


def test_a_scan_says_what_is_in_step(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, "index", "docs", "--out", "my.index") == 0
    captured = capsys.readouterr()
    assert "All of them are in the index\n" in captured.err
    assert "101 passages (0 embedded now, 0 removed; files: 2 unchanged)" in captured.out
    (docs / "short.txt").unlink()
    assert run(model, "index", "docs", "--out", "my.index") == 0
    assert "All of them are in the index, and 1 file to remove\n" in capsys.readouterr().err


def test_bad_files_are_named_and_left_out_when_asked(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (docs / f"{name}.jsonl").write_text("nonsense")
    line = fails(capsys, model, "index", "docs", "--out", "my.index")
    assert "2 files cannot be read: docs/a.jsonl: " in line
    assert "docs/b.jsonl: " in line
    assert not Path("my.index").exists()
    assert run(model, "index", "docs", "--out", "my.index", "--skip-bad") == 3
    captured = capsys.readouterr()
    assert "101 passages (101 embedded now" in captured.out
    assert "onegen: 2 files could not be read and were skipped:\n  docs/a.jsonl: " in captured.err
    assert run(model, "index", "docs", "--out", "my.index", "--skip-bad", "--json") == 3
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [failure["file"] for failure in report["failed"]] == ["docs/a.jsonl", "docs/b.jsonl"]


def test_an_index_in_an_index_is_refused(
    model: FakeModel, docs: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "index", "docs", "--out", "my.index/sub")
    assert "my.index/sub lies in the index" in line
    assert not (index / "sub").exists()
