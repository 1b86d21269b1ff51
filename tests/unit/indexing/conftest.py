"""Twenty files in a folder beside an index."""

from pathlib import Path

import pytest

from tests.support.fake_model import FakeModel


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for n in range(20):
        (tmp_path / "docs" / f"{n}.txt").write_text(f"text {n}")
    return tmp_path / "docs"
