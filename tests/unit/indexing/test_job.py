"""Documents into an index from Python, as `onegen index` does it: what is done, saved, refused."""

import os
from pathlib import Path

import pytest

from onegen_model import FileCounts, IndexingOptions, IndexReport, PassageIndex, grow_index
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.support.fake_model import FakeModel


def test_an_index_grows_and_follows_its_files(model: FakeModel, docs: Path) -> None:
    assert grow_index(model, ["docs"], "my.index") == IndexReport(
        20, 20, 20, embedded=20, files=FileCounts(added=20)
    )
    (docs / "0.txt").write_text("changed")
    (docs / "1.txt").write_text("word " * 100)
    model.embedded.clear()
    growth = grow_index(model, ["docs"], Path("my.index"))
    assert growth.files == FileCounts(changed=2, unchanged=18)
    assert growth.embedded == len(model.embedded) == growth.passages - 18
    (docs / "1.txt").write_text("short again")
    assert grow_index(model, ["docs"], "my.index").removed == growth.passages - 20
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_a_stopped_job_continues(model: FakeModel, docs: Path) -> None:
    options = IndexingOptions(batch=5)
    stopped = grow_index(
        model, ["docs"], "my.index", options=options, should_stop=lambda: len(model.embedded) >= 10
    )
    assert (stopped.done, stopped.total, stopped.is_whole) == (10, 20, False)
    assert len(PassageIndex.load(model, "my.index")) == 10
    again = grow_index(model, ["docs"], "my.index", options=options)
    assert (again.embedded, again.files) == (10, FileCounts(added=10, unchanged=10))


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_file_of_which_only_a_part_is_in_the_index_is_read_again(
    model: FakeModel, docs: Path, stop_at: int
) -> None:
    (docs / "rows.jsonl").write_text("\n".join(f'{{"text": "row {n}"}}' for n in range(10)))
    options = IndexingOptions(batch=2, save_every=0)

    def fail() -> None:
        if len(model.embedded) >= 2 * stop_at:
            raise MemoryError

    model.on_embed = fail
    with pytest.raises(MemoryError):
        grow_index(model, [docs / "rows.jsonl"], "my.index", options=options)
    assert len(PassageIndex.load(model, "my.index")) == 2 * stop_at
    model.on_embed = None
    model.embedded.clear()
    report = grow_index(model, [docs / "rows.jsonl"], "my.index")
    assert report.passages == 10
    assert report.embedded == len(model.embedded) == 10 - 2 * stop_at


def test_files_that_cannot_be_read_leave_no_empty_index_behind(
    model: FakeModel, docs: Path
) -> None:
    (docs / "bad.jsonl").write_text("nonsense")
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl.* is not JSON"):
        grow_index(model, ["docs"], "new/my.index")
    assert not Path("new/my.index").exists()


def test_a_bad_option_or_folder_is_refused_before_any_work(model: FakeModel, docs: Path) -> None:
    with pytest.raises(InvalidInputError, match="batch=0; expected at least 1"):
        IndexingOptions(batch=0)
    with pytest.raises(InvalidInputError, match="keep_missing and prune; expected one"):
        IndexingOptions(keep_missing=True, prune=True)
    with pytest.raises(PassageIndexError, match="docs is not an index"):
        grow_index(model, ["docs"], "docs")
    assert model.embedded == []
    assert sorted(os.listdir("docs")) == sorted(f"{n}.txt" for n in range(20))


def test_an_index_with_a_damaged_manifest_is_not_replaced_by_a_few_documents(
    model: FakeModel, docs: Path
) -> None:
    grow_index(model, ["docs"], "my.index")
    manifest = Path("my.index/manifest.json")
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:50])
    with pytest.raises(PassageIndexError, match=r"unreadable manifest\.json"):
        grow_index(model, [docs / "0.txt"], "my.index")
    manifest.write_bytes(whole)
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_an_index_in_an_index_is_refused(model: FakeModel, docs: Path) -> None:
    grow_index(model, ["docs"], "my.index")
    with pytest.raises(PassageIndexError, match=r"my\.index/sub lies in the index .*my\.index;"):
        grow_index(model, ["docs"], "my.index/sub")
    with pytest.raises(PassageIndexError, match="lies in the index"):
        PassageIndex(model).save("my.index/deep/sub")
    for inside in ("my.index", "my.index/sub"):
        Path(inside).mkdir(exist_ok=True)
        with pytest.raises(InvalidInputError, match=r"is an index; expected|no documents"):
            grow_index(model, [inside], "my.index")
    Path("my.index/sub").rmdir()
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_an_index_below_the_documents_is_not_a_document(model: FakeModel, docs: Path) -> None:
    grow_index(model, ["docs"], docs / "my.index")
    assert grow_index(model, ["docs"], docs / "my.index").files == FileCounts(unchanged=20)


def test_an_index_that_is_in_step_is_not_written(model: FakeModel, docs: Path) -> None:
    grow_index(model, ["docs"], "my.index")
    before = {file.name: file.stat().st_mtime_ns for file in Path("my.index").iterdir()}
    assert grow_index(model, ["docs"], "my.index").embedded == 0
    assert before == {file.name: file.stat().st_mtime_ns for file in Path("my.index").iterdir()}
