"""`onegen embed`: interrupts, kills, failures, and folders that it leaves alone."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from onegen_model import PassageIndex
from tests.unit.cli.embed.conftest import ARGV, ROOT, FakeModel, fails, ids, run, vectors


def test_ctrl_c_costs_one_shard_at_most(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        if len(model.embedded) >= 50:
            signal.raise_signal(signal.SIGINT)

    model.on_embed = interrupt
    line = fails(capsys, model, *ARGV, status=130)
    done = len(vectors())
    assert f"stopped; {done} of " in line
    assert "shards are in emb; run the same command again to continue" in line
    assert done > 1
    assert "is not finished" in fails(capsys, model, "ask", "who?", "--index", "emb")
    first, model.on_embed = list(model.embedded), None
    model.embedded.clear()
    assert run(model, *ARGV) == 0
    assert len(first) + len(model.embedded) <= 100 + 20
    assert len(ids()) == 100


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_names_the_batch_and_keeps_the_shards_before_it(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail() -> None:
        if len(model.embedded) >= 50:
            raise error

    model.on_embed = fail
    line = fails(capsys, model, *ARGV, "--batch", "40")
    assert "error: Out of memory; expected it to fit; lower --batch (now 40)" in line
    assert len(vectors()) > 1
    with pytest.raises(type(error)):
        run(model, *ARGV, "--debug")


def test_another_failure_keeps_the_shards_before_it(model: FakeModel, docs: Path) -> None:
    def fail() -> None:
        if len(model.embedded) >= 50:
            raise RuntimeError("something else")

    model.on_embed = fail
    with pytest.raises(RuntimeError, match="something else"):
        run(model, *ARGV)
    assert len(vectors()) > 1


def test_after_a_kill_only_missing_shards_are_embedded(docs: Path) -> None:
    script = """
        import os, signal
        from onegen_model.cli import main
        from tests.unit.cli.embed.conftest import ARGV, FakeModel
        model = FakeModel()
        def kill():
            if len(model.embedded) >= 50:
                os.kill(os.getpid(), signal.SIGKILL)
        model.on_embed = kill
        main([*ARGV, "--batch", "40"], load_model=model.load)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    kept = {file: file.stat().st_mtime_ns for file in vectors()}
    rows = sum(len(np.load(file)) for file in kept)
    assert 30 < rows < 100
    model = FakeModel()
    assert run(model, *ARGV) == 0
    assert len(model.embedded) == 100 - rows
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert len(PassageIndex.load(model, "emb")) == 100


@pytest.mark.parametrize("kind", ["vectors-*", "passages-*"])
def test_a_damaged_shard_is_made_again(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert run(model, *ARGV) == 0
    damaged = next(Path("emb").glob(kind))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert f"holds {damaged.name} damaged" in fails(capsys, model, "ask", "who?", "--index", "emb")
    model.embedded.clear()
    assert run(model, *ARGV) == 0
    assert 0 < len(model.embedded) <= 20 if kind == "vectors-*" else model.embedded == []
    assert "emb: 100 passages" in capsys.readouterr().out
    assert len(PassageIndex.load(model, "emb")) == 100


def test_a_corpus_of_another_model_stays_as_it_was(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    other = FakeModel(fingerprint="0" * 64)
    line = fails(capsys, other, *ARGV)
    assert "fingerprint ffffffffffff, not 000000000000" in line
    assert "use those again, or choose another --out" in line
    line = fails(capsys, other, "ask", "who?", "--index", "emb")
    assert "emb was embedded by another model" in line
    assert other.embedded == []
    assert len(PassageIndex.load(model, "emb")) == 100


def test_other_options_do_not_embed_everything_again_by_accident(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    model.embedded.clear()
    assert "shard_size 10, not 2048" in fails(capsys, model, *ARGV[:4])
    assert "dtype float32, not bfloat16" in fails(capsys, model, *ARGV, "--dtype", "bfloat16")
    assert model.embedded == []


def test_another_corpus_stays_as_it_was(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    (docs.parent / "other.txt").write_text("other")
    line = fails(capsys, model, "embed", "other.txt", *ARGV[2:])
    assert "emb holds another corpus" in line
    assert len(ids()) == 100


def test_a_corpus_is_grown_as_an_index_and_an_index_is_no_corpus(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    assert run(model, "index", "docs", "--out", "my.index") == 0
    model.embedded.clear()
    line = fails(capsys, model, "embed", "docs", "--out", "my.index")
    assert "my.index is an index that PassageIndex.save or `onegen index` wrote" in line
    assert "run `onegen index` to add to it" in line
    (docs.parent / "other.txt").write_text("other")
    assert run(model, "index", "other.txt", "--out", "emb") == 0
    assert model.embedded == ["other.txt#0"]
    assert len(PassageIndex.load(model, "emb")) == len(ids()) == 101
    assert "emb is an index" in fails(capsys, model, *ARGV)


def test_a_bad_corpus_is_one_clear_error(
    model: FakeModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    (here / "blank.txt").write_text("\n")
    (here / "bad.jsonl").write_text('{"text": "a"}\nnonsense')
    (here / "twice.jsonl").write_text('{"text": "a", "id": 1}\n{"text": "b", "id": 1}')
    cases = {
        "empty": "The folder empty holds no documents",
        "missing": "There is no file or folder missing",
        "blank.txt": "All documents are empty",
        "bad.jsonl": "bad.jsonl: line 2 is not JSON",
        "twice.jsonl": "twice.jsonl:2 has the same id '1' as twice.jsonl:1",
    }
    for path, expected in cases.items():
        assert run(model, "embed", path, "--out", "emb") == 2
        assert f"onegen: error: {expected}" in capsys.readouterr().err
    assert model.embedded == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--out", "docs"], "docs is not an index; expected a new or empty folder"),
        (["--out", "docs/short.txt"], "docs/short.txt is not an index"),
        (["--out", "docs/short.txt/x"], "cannot be written to docs/short.txt/x"),
        (["--out", "/proc/onegen"], "cannot be written to /proc/onegen"),
        (["--out", "emb", "--batch", "0"], "batch=0; expected at least 1; change --batch"),
        (["--out", "emb", "--shard-size", "0"], "shard_size=0; expected at least 1; change --sh"),
    ],
)
def test_a_bad_option_fails_before_any_work(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str], more: list[str], expected: str
) -> None:
    assert expected in fails(capsys, model, "embed", "docs", *more)
    assert model.embedded == []
    assert (docs / "short.txt").read_text() == "Ada Wrenfield"
    assert not Path("emb").exists()


def test_a_finished_corpus_that_cannot_be_written_to_is_still_read(
    model: FakeModel,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(model, *ARGV) == 0

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fsync", fail)
    assert "cannot be written to emb" in fails(capsys, model, *ARGV)
    assert len(PassageIndex.load(model, "emb")) == 100
    assert not list(Path("emb").glob(".*.staged"))


def test_numbers_that_overflow_are_not_written(
    model: FakeModel,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        FakeModel, "embed_passages", lambda *_, **__: np.full((1, 8), np.nan, np.float32)
    )
    line = fails(capsys, model, *ARGV, "--dtype", "float16")
    assert "Vectors with NaN or infinite numbers, computed in float16" in line
    assert vectors() == []
