"""Documents into an index from Python, as `onegen index` does it."""

import os
from pathlib import Path

import pytest

from onegen_model import IndexingOptions, IndexReport, PassageIndex, grow_index
from onegen_model.documents.finding import find_files
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.support.fake_model import FakeModel


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for n in range(20):
        (tmp_path / "docs" / f"{n}.txt").write_text(f"text {n}")
    return tmp_path / "docs"


def test_an_index_grows_and_follows_its_files(docs: Path) -> None:
    model = FakeModel()
    assert grow_index(model, ["docs"], "my.index") == IndexReport(20, 20, 20, 20, 0)
    (docs / "0.txt").write_text("changed")
    (docs / "1.txt").write_text("word " * 100)
    model.embedded.clear()
    growth = grow_index(model, find_files(["docs"]), Path("my.index"))
    assert (growth.passages, growth.embedded, growth.removed) == (22, 4, 0)
    (docs / "1.txt").write_text("short again")
    assert grow_index(model, ["docs"], "my.index").removed == 2
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_a_stopped_job_continues(docs: Path) -> None:
    model = FakeModel()
    options = IndexingOptions(batch=5)
    stopped = grow_index(
        model, ["docs"], "my.index", options=options, should_stop=lambda: len(model.embedded) >= 10
    )
    assert (stopped.done, stopped.total, stopped.is_whole) == (10, 20, False)
    assert len(PassageIndex.load(model, "my.index")) == 10
    assert grow_index(model, ["docs"], "my.index", options=options).embedded == 10


def test_files_that_cannot_be_read_leave_no_empty_index_behind(docs: Path) -> None:
    (docs / "bad.jsonl").write_text("nonsense")
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl: line 1 is not JSON"):
        grow_index(FakeModel(), ["docs"], "new/my.index")
    assert not Path("new/my.index").exists()


def test_a_bad_option_or_folder_is_refused_before_any_work(docs: Path) -> None:
    model = FakeModel()
    with pytest.raises(InvalidInputError, match="batch=0; expected at least 1"):
        IndexingOptions(batch=0)
    with pytest.raises(PassageIndexError, match="docs is not an index"):
        grow_index(model, ["docs"], "docs")
    assert model.embedded == []
    assert sorted(os.listdir("docs")) == sorted(f"{n}.txt" for n in range(20))


def test_an_index_with_a_damaged_manifest_is_not_replaced_by_a_few_documents(docs: Path) -> None:
    model = FakeModel()
    grow_index(model, ["docs"], "my.index")
    manifest = Path("my.index/manifest.json")
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:50])
    with pytest.raises(PassageIndexError, match=r"unreadable manifest\.json"):
        grow_index(model, [docs / "0.txt"], "my.index")
    manifest.write_bytes(whole)
    assert len(PassageIndex.load(model, "my.index")) == 20
