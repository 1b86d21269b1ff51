"""`onegen embed`: what it leaves, what it says, and what a kill costs."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, OneGenModel, Passage, PassageIndex, Query
from onegen_model.cli import main
from tests.conftest import MakeNetwork
from tests.fake_embedder import FakeEmbedder, unit
from tests.integrations_models import save_model

ROOT = Path(__file__).parents[1]
ARGV = ("embed", "docs", "--out", "emb", "--shard-size", "10")


class FakeModel(FakeEmbedder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.on_embed: Any = None
        self.batches: list[int] = []
        self.lengths: list[list[int]] = []

    def load(self, path_or_id: str | None, dtype: str) -> "FakeModel":
        return self

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False, batch: int = 0
    ) -> np.ndarray:
        if self.on_embed is not None:
            self.on_embed()
        self.batches.append(batch)
        self.lengths.append([len(p.title + p.text) for p in passages])
        return super().embed_passages(passages)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def docs(here: Path) -> Path:
    (here / "docs").mkdir()
    (here / "docs" / "short.txt").write_text("Ada Lovelace")
    (here / "docs" / "long.md").write_text("# Long\n\n" + "word " * 100)
    rows = [{"text": f"text {n} " * (1 + n % 3), "title": f"t{n}", "id": n} for n in range(96)]
    (here / "docs" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return here / "docs"


def run(model: FakeModel, *argv: str) -> int:
    return main(argv, load_model=model.load)


def fails(capsys: pytest.CaptureFixture[str], model: FakeModel, *argv: str, status: int = 2) -> str:
    """The one line on stderr of a run that fails."""
    capsys.readouterr()
    assert run(model, *argv) == status
    captured = capsys.readouterr()
    [line] = [line for line in captured.err.splitlines() if line.startswith("onegen: ")]
    assert "Traceback" not in captured.err
    return line


def vectors(folder: str | Path = "emb") -> list[Path]:
    return sorted(Path(folder).glob("vectors-*.npy"))


def ids(folder: str | Path = "emb") -> list[str]:
    return [passage.id for some, _ in EmbeddedCorpus.open(folder).batches() for passage in some]


# --- what it leaves ---


def test_embed(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, *ARGV) == 0
    shards = len(vectors())
    assert 100 / 20 <= shards <= 100 / 5
    assert capsys.readouterr().out == f"emb: 100 passages in {shards} shards (100 embedded now)\n"
    assert ids()[:4] == [f"docs/long.md#{n}" for n in range(3)] + ["0#0"]
    manifest = json.loads(Path("emb/manifest.json").read_text())
    told = ("fingerprint", "dimension", "max_passage_tokens", "dtype", "stored_as", "passages")
    assert [manifest[name] for name in told] == ["f" * 64, 8, 40, "float32", "float32", 100]
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
    assert max(map(len, model.lengths)) == 8
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


# --- what stops it ---


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
    assert "shards are in emb; run the same command again to go on" in line
    assert done > 1
    assert "is not finished" in fails(capsys, model, "ask", "who?", "--index", "emb")
    first, model.on_embed = list(model.embedded), None
    model.embedded.clear()
    assert run(model, *ARGV) == 0
    assert len(first) + len(model.embedded) <= 100 + 20
    assert len(ids()) == 100


def test_a_failure_keeps_the_shards_before_it(model: FakeModel, docs: Path) -> None:
    def fail() -> None:
        if len(model.embedded) >= 50:
            raise MemoryError

    model.on_embed = fail
    with pytest.raises(MemoryError):
        run(model, *ARGV)
    assert len(vectors()) > 1


def test_a_killed_process_goes_on_with_the_missing_shards(docs: Path) -> None:
    script = """
        import os, signal
        from onegen_model.cli import main
        from tests.test_embed_command import ARGV, FakeModel
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
    assert 30 < rows <= 50
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
    assert "holds it damaged" in fails(capsys, model, "ask", "who?", "--index", "emb")
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


def test_an_index_and_a_corpus_do_not_replace_each_other(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, *ARGV) == 0
    assert run(model, "index", "docs", "--out", "my.index") == 0
    model.embedded.clear()
    line = fails(capsys, model, "index", "docs", "--out", "emb")
    assert "emb is an embedded corpus; expected an index" in line
    line = fails(capsys, model, "embed", "docs", "--out", "my.index")
    assert "my.index is not an embedded corpus" in line
    assert model.embedded == []


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
        "bad.jsonl": "bad.jsonl:2 is not JSON",
        "twice.jsonl": "twice.jsonl:2 has the same id '1' as twice.jsonl:1",
    }
    for path, expected in cases.items():
        assert run(model, "embed", path, "--out", "emb") == 2
        assert f"onegen: error: {expected}" in capsys.readouterr().err
    assert model.embedded == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--out", "docs"], "docs is not an embedded corpus; expected a new or empty folder"),
        (["--out", "docs/short.txt"], "docs/short.txt is not an embedded corpus"),
        (["--out", "docs/short.txt/x"], "docs/short.txt/x is not an embedded corpus"),
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
    assert (docs / "short.txt").read_text() == "Ada Lovelace"
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
    assert not list(Path("emb").glob(".*"))


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
