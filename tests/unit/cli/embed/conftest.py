"""A hundred passages in a new folder, a fake model to embed them, and the command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, Passage
from onegen_model.cli import main
from tests.support.fake_embedder import FakeEmbedder

ROOT = Path(__file__).parents[4]
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
    (here / "docs" / "short.txt").write_text("Ada Wrenfield")
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
