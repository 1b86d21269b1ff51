"""A fake model, an empty folder to run in, and an index of a hundred and one passages."""

import json
from pathlib import Path

import pytest

from tests.support.fake_model import FakeModel, run


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def docs(here: Path) -> Path:
    (here / "docs").mkdir()
    (here / "docs" / "short.txt").write_text("Ada Wrenfield")
    rows = [{"text": f"text {n}", "title": f"title {n}", "id": f"r{n}"} for n in range(100)]
    (here / "docs" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return here / "docs"


@pytest.fixture
def index(model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(model, "index", "docs", "--out", "my.index") == 0
    capsys.readouterr()
    model.embedded.clear()
    return docs.parent / "my.index"
