"""`onegen embed`: its output and its reports, in one process and in several."""

import json
import os
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, OneGenModel, PassageIndex, Query
from onegen_model.cli import main
from tests.conftest import MakeNetwork
from tests.support.fake_embedder import unit
from tests.support.integrations_models import save_model
from tests.unit.cli.embed.conftest import ARGV, ROOT, FakeModel, fails, ids, run, vectors

# --- what it leaves ---


def test_embed(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, *ARGV) == 0
    shards = len(vectors())
    assert 100 / 20 <= shards <= 100 / 5
    assert capsys.readouterr().out == f"emb: 100 passages in {shards} shards (100 embedded now)\n"
    assert ids()[:4] == [f"docs/long.md#{n}" for n in range(3)] + ["0#0"]
    manifest = json.loads(Path("emb/manifest.json").read_text())
    names = ("fingerprint", "dimension", "max_passage_tokens", "dtype", "stored_as", "passages")
    assert [manifest[name] for name in names] == ["f" * 64, 8, 40, "float32", "float32", 100]
    assert len(manifest["shards"]) == shards


def test_an_index_of_it_is_that_of_onegen_index(model: FakeModel, docs: Path) -> None:
    assert run(model, *ARGV) == 0
    assert run(model, "index", "docs", "--out", "my.index") == 0
    one, other = (PassageIndex.load(model, path) for path in ("emb", "my.index"))
    assert one.passages == other.passages
    query = Query(array("f", unit("who?")), "who?", 5)
    assert one.retrieve([query]) == other.retrieve([query])


def test_options_reach_the_model_and_the_disk(model: FakeModel, docs: Path) -> None:
    assert run(model, *ARGV[:4], "--batch", "64", "--store-as", "float16", "--threads", "1") == 0
    assert set(model.batches) == {64}
    assert max(map(len, model.lengths)) > 1
    assert all(len(some) * max(some) <= 64 * 32 for some in model.lengths if len(some) > 1)
    assert model.lengths == [sorted(lengths, reverse=True) for lengths in model.lengths]
    assert np.load(vectors()[0]).dtype == np.float16


def test_in_json(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for embedded in (100, 0):
        assert run(model, *ARGV, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "corpus": "emb",
            "passages": 100,
            "shards": len(vectors()),
            "embedded": embedded,
        }


def test_a_corpus_is_followed_at_the_price_of_what_changed(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    before = vectors()
    model.embedded.clear()
    (docs / "a.txt").write_text("the first of all files")
    (docs / "short.txt").unlink()
    assert run(model, *ARGV) == 0
    assert ids()[0] == "docs/a.txt#0"
    assert len(ids()) == 100
    assert 0 < len(model.embedded) <= 60
    assert len(set(vectors()) & set(before)) >= len(before) - 3
    capsys.readouterr()
    assert run(model, *ARGV) == 0
    assert "(0 embedded now)" in capsys.readouterr().out


def test_its_own_output_is_no_document(model: FakeModel, docs: Path) -> None:
    argv = ["embed", "docs", "--out", "docs/emb"]
    for _ in range(2):
        assert run(model, *argv) == 0
        assert len(ids("docs/emb")) == 100


# --- several processes ---


def test_processes_share_the_shards_out(
    model: FakeModel,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    done: list[list[str]] = []
    for rank in ("2", "0", "1"):
        monkeypatch.setenv("RANK", rank)
        model.embedded.clear()
        capsys.readouterr()
        assert run(model, *ARGV) == 0
        done.append(list(model.embedded))
    assert f"({len(done[2])} embedded now by the last of 3 processes)" in capsys.readouterr().out
    assert sorted(name for names in done for name in names) == sorted(ids())
    assert min(map(len, done)) > 10
    reports = []
    for rank in "012":
        monkeypatch.setenv("RANK", rank)
        assert run(model, *ARGV) == 0
        reports.append("(0 embedded now" in capsys.readouterr().out)
    assert reports == [True, False, False]


def test_more_processes_than_shards(
    model: FakeModel, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "25")
    for rank in range(25):
        monkeypatch.setenv("RANK", str(rank))
        assert run(model, *ARGV) == 0
    assert len(ids()) == len(model.embedded) == 100


@pytest.mark.parametrize(("rank", "count"), [("2", "2"), ("1", ""), ("-1", "2"), ("x", "2")])
def test_an_environment_that_makes_no_sense(
    model: FakeModel,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    count: str,
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    line = fails(capsys, model, *ARGV)
    assert f"RANK={rank} and WORLD_SIZE={count} in the environment; expected a number" in line


@pytest.mark.slow
def test_torchrun(docs: Path, make_network: MakeNetwork) -> None:
    folder = save_model(make_network, docs.parent / "tiny")
    argv = [*ARGV, "--model", str(folder), "--json", "--threads", "1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    port = ["--master_port", str(20_000 + os.getpid() % 20_000)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def launch() -> list[dict[str, Any]]:
        done = subprocess.run(
            [*torchrun, *port, "-m", "onegen_model.cli", *argv],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    [report] = launch()
    assert report["passages"] == len(ids()) > 50
    assert 0 < report["embedded"] < report["passages"]
    lost, *kept = vectors()
    lost.unlink()
    written = [file.stat().st_mtime_ns for file in kept]
    [report] = launch()
    assert report["passages"] == len(ids())
    assert [file.stat().st_mtime_ns for file in kept] == written
    model = OneGenModel.from_pretrained(folder)
    for passages, rows in EmbeddedCorpus.open("emb").batches():
        assert np.abs(rows - model.embed_passages(passages)).max() < 1e-5


@pytest.mark.slow
def test_from_documents_to_an_answer_with_a_real_network(
    docs: Path, make_network: MakeNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(save_model(make_network, docs.parent / "tiny"))
    argv = ("docs", "--out", "emb", "--model", folder, "--dtype", "bfloat16", "--batch", "512")
    assert main(["embed", *argv]) == 0
    asked = ["ask", "Who is Ada?", "--index", "emb", "--model", folder, "--retrieval", "always"]
    assert main([*asked, "--max-retrievals", "1", "--max-new-tokens", "8"]) == 0
    assert "Sources:" in capsys.readouterr().out
    assert main(["embed", *argv[:5]]) == 2
    assert "dtype bfloat16, not float32" in capsys.readouterr().err


def test_only_what_the_options_choose_is_read(model: FakeModel, here: Path) -> None:
    for name in ("a.md", "b.txt", "old/c.md", ".d.md", "e.md"):
        (here / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "own" / name).write_text(name)
    (here / "own" / ".ignore").write_text("e.md\n")
    options = ("--include", "*.md", "--exclude", "old/")
    assert run(model, "embed", "own", "--out", "one", *options) == 0
    assert ids("one") == ["own/a.md#0"]
    assert run(model, "embed", "own", "--out", "two", *options, "--hidden", "--no-ignore") == 0
    assert ids("two") == ["own/.d.md#0", "own/a.md#0", "own/e.md#0"]
    (here / "own" / "a.md").write_bytes("Köln".encode("cp850"))
    assert run(model, "embed", "own/a.md", "--out", "three", "--encoding", "cp850") == 0
    [(passages, _)] = EmbeddedCorpus.open("three").batches()
    assert [passage.text for passage in passages] == ["Köln"]


def test_bad_files_stop_it_or_are_skipped_and_named(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bad1.txt", "bad2.txt"):
        (docs / name).write_bytes(b"\0")
    message = fails(capsys, model, "embed", "docs", "--out", "emb")
    assert "2 files cannot be read" in message
    assert "bad1.txt" in message
    assert "bad2.txt" in message
    assert run(model, "embed", "docs", "--out", "emb", "--skip-bad") == 3
    assert (
        "2 files could not be read and were skipped:\n  docs/bad1.txt: " in capsys.readouterr().err
    )
    assert ids()
    (docs / "bad2.txt").unlink()
    assert run(model, "embed", "docs", "--out", "emb", "--skip-bad") == 3
    assert "1 file could not be read and was skipped:" in capsys.readouterr().err


def test_the_home_folder_is_expanded_in_an_option(
    model: FakeModel, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(docs.parent / "home"))
    (docs.parent / "home").mkdir()
    assert run(model, "embed", "docs", "--out=~/emb") == 0
    assert vectors(docs.parent / "home" / "emb")
    assert not Path("~").exists()
