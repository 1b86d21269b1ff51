"""An index is kept in step with its files: what changes, moves, goes, and stays."""

import json
import os
import shutil
from pathlib import Path

import pytest

from onegen_model import FileCounts, IndexingOptions, IndexReport, PassageIndex, grow_index
from onegen_model.documents.failures import UnreadableFilesError
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.indexing import held
from onegen_model.places import place_of
from tests.support.fake_embedder import unit
from tests.support.fake_model import FakeModel
from tests.support.indexes import write_version_1


def sync(
    model: FakeModel, *paths: str | Path, out: str = "my.index", **options: bool
) -> IndexReport:
    model.embedded.clear()
    return grow_index(model, paths or ["docs"], out, options=IndexingOptions(**options))


def sources(model: FakeModel, out: str = "my.index") -> set[str]:
    places = map(place_of, PassageIndex.load(model, out).passages)
    return {place.source for place in places if place}


@pytest.fixture
def indexed(model: FakeModel, docs: Path) -> Path:
    sync(model)
    return docs


def test_of_a_thousand_files_only_the_ten_that_changed_are_embedded(
    model: FakeModel, docs: Path
) -> None:
    for n in range(1000):
        (docs / f"{n}.txt").write_text(f"text {n}")
    sync(model)
    for n in range(10):
        (docs / f"{n}.txt").write_text(f"new text {n}")
    report = sync(model)
    assert report.files == FileCounts(changed=10, unchanged=990)
    assert report.embedded == len(model.embedded) == 10
    assert (report.done, report.total, report.passages) == (1000, 1000, 1000)


def test_unchanged_files_are_not_even_split(model: FakeModel, indexed: Path) -> None:
    def refuse(text: str) -> int:
        raise AssertionError(text)

    model.count_tokens = refuse  # type: ignore[method-assign]
    assert sync(model).files == FileCounts(unchanged=20)


def test_in_a_changed_file_only_the_new_passages_are_embedded(model: FakeModel, docs: Path) -> None:
    parts = [" ".join(f"{letter}{n}" for n in range(30)) for letter in "abcdef"]
    (docs / "long.txt").write_text("\n\n".join(parts))
    sync(model)
    (docs / "long.txt").write_text("\n\n".join(["a new beginning " + "x " * 25, *parts]))
    report = sync(model)
    assert report.reused == 6
    assert len(model.embedded) == report.embedded == 1
    index = PassageIndex.load(model, "my.index")
    for some, rows in index.batches():
        for passage, row in zip(some, rows, strict=True):
            assert row.tolist() == unit(passage.title + passage.text).tolist()
    assert len(index) == 27


def test_a_file_that_is_gone_leaves_the_index(model: FakeModel, indexed: Path) -> None:
    (indexed / "3.txt").unlink()
    (indexed / "4.txt").write_text("")
    report = sync(model)
    assert report.files == FileCounts(removed=2, unchanged=18)
    assert (report.removed, report.passages) == (2, 18)
    assert sources(model).isdisjoint({"docs/3.txt", "docs/4.txt"})


def test_missing_files_are_kept_when_asked(model: FakeModel, indexed: Path) -> None:
    (indexed / "3.txt").unlink()
    assert sync(model, keep_missing=True).files == FileCounts(unchanged=19)
    assert "docs/3.txt" in sources(model)


def test_what_lies_elsewhere_is_left_alone_unless_it_is_pruned(
    model: FakeModel, indexed: Path
) -> None:
    Path("note.txt").write_text("a note")
    sync(model, "note.txt")
    Path("note.txt").unlink()
    assert sync(model).files == FileCounts(unchanged=20)
    assert "note.txt" in sources(model)
    assert sync(model, prune=True).files == FileCounts(removed=1, unchanged=20)


def test_a_moved_file_takes_its_vectors_along(model: FakeModel, indexed: Path) -> None:
    (indexed / "sub").mkdir()
    for n in range(5):
        (indexed / f"{n}.txt").rename(indexed / "sub" / f"{n}.txt")
    report = sync(model)
    assert report.files == FileCounts(moved=5, unchanged=15)
    assert (report.embedded, report.reused, report.passages) == (0, 5, 20)
    assert model.embedded == []
    assert {f"docs/sub/{n}.txt" for n in range(5)} <= sources(model)


def test_a_file_moved_out_of_the_folders_goes_from_its_old_place(
    model: FakeModel, indexed: Path
) -> None:
    Path("other").mkdir()
    (indexed / "7.txt").rename("other/7.txt")
    assert sync(model, "other").files == FileCounts(moved=1)
    assert model.embedded == []
    assert sources(model) == {f"docs/{n}.txt" for n in range(20) if n != 7} | {"other/7.txt"}


def test_a_renamed_file_keeps_its_vectors_unless_its_name_is_its_title(
    model: FakeModel, docs: Path
) -> None:
    (docs / "guide.md").write_text("# The guide\n\nOf many words.")
    sync(model)
    (docs / "guide.md").rename(docs / "manual.md")
    (docs / "0.txt").rename(docs / "zero.txt")
    report = sync(model)
    assert report.files == FileCounts(moved=2, unchanged=19)
    assert model.embedded == ["docs/zero.txt#0"]
    assert {"docs/guide.md", "docs/0.txt"}.isdisjoint(sources(model))


def test_a_copy_is_new_and_the_original_stays(model: FakeModel, indexed: Path) -> None:
    (indexed / "sub").mkdir()
    shutil.copy(indexed / "0.txt", indexed / "sub" / "0.txt")
    assert sync(model).files == FileCounts(added=1, unchanged=20)
    assert model.embedded == []


def test_a_moved_project_is_the_same_corpus_from_any_working_directory(
    model: FakeModel, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("project").mkdir()
    docs.rename("project/docs")
    sync(model, "project/docs", out="project/my.index")
    Path("project").rename("moved")
    monkeypatch.chdir("moved/docs")
    for paths, out in ((["."], "../my.index"), ([Path.cwd()], str(Path("../my.index").resolve()))):
        assert sync(model, *paths, out=out).files == FileCounts(unchanged=20)
    assert sources(model, "../my.index") == {f"docs/{n}.txt" for n in range(20)}


def test_times_of_files_do_not_matter(model: FakeModel, indexed: Path) -> None:
    (indexed / "0.txt").write_text("news")
    os.utime(indexed / "0.txt", (0, 0))
    os.utime(indexed / "1.txt", (4e9, 4e9))
    assert sync(model).files == FileCounts(changed=1, unchanged=19)


def test_a_folder_or_file_that_is_missing_removes_nothing(model: FakeModel, indexed: Path) -> None:
    indexed.rename("away")
    for path in ("docs", "docs/0.txt"):
        with pytest.raises(InvalidInputError, match=f"no file or folder {path}"):
            sync(model, path, prune=True)
    assert len(PassageIndex.load(model, "my.index")) == 20


def test_a_folder_that_is_suddenly_empty_is_refused_unless_it_is_pruned(
    model: FakeModel, indexed: Path
) -> None:
    for file in indexed.iterdir():
        file.unlink()
    with pytest.raises(
        InvalidInputError, match=r"docs holds no documents any more, and the index has 20 of its"
    ):
        sync(model)
    assert sync(model, keep_missing=True).files == FileCounts()
    assert len(PassageIndex.load(model, "my.index")) == 20
    assert sync(model, prune=True).files == FileCounts(removed=20)
    assert len(PassageIndex.load(model, "my.index")) == 0


def test_what_cannot_be_looked_for_is_not_gone(
    model: FakeModel, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be entered answers every question with an error."""
    (indexed / "0.txt").unlink()
    (indexed / "1.txt").unlink()
    real = os.stat

    def closed(path: str | Path, **options: bool) -> os.stat_result:
        if str(path).endswith("/1.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(held.os, "stat", closed)
    assert sync(model).files == FileCounts(removed=1, unchanged=18)
    assert "docs/1.txt" in sources(model)


def test_without_skip_bad_all_bad_files_are_named_and_nothing_is_written(
    model: FakeModel, indexed: Path
) -> None:
    (indexed / "0.txt").write_text("news")
    for name in ("a", "b"):
        (indexed / f"{name}.jsonl").write_text("nonsense")
    before = {file.name for file in Path("my.index").iterdir()}
    with pytest.raises(UnreadableFilesError, match="2 files cannot be read") as caught:
        sync(model)
    assert [failure.path.name for failure in caught.value.failures] == ["a.jsonl", "b.jsonl"]
    assert {file.name for file in Path("my.index").iterdir()} == before
    assert model.embedded == []


def test_with_skip_bad_the_rest_is_indexed_and_a_bad_file_keeps_its_passages(
    model: FakeModel, docs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = docs / "rows.jsonl"
    rows.write_text('{"text": "a row"}')
    sync(model)
    rows.write_text("nonsense")
    (docs / "0.txt").write_text("news")
    report = sync(model, skip_bad=True)
    assert report.files == FileCounts(changed=1, unchanged=19)
    assert [failure.path.name for failure in report.failures] == ["rows.jsonl"]
    assert "docs/rows.jsonl" in sources(model)
    assert "rows.jsonl" in caplog.text
    assert "what the index holds of it stays" in caplog.text
    with pytest.raises(UnreadableFilesError):
        sync(model, rows, out="new.index", skip_bad=True)
    assert not Path("new.index").exists()


def test_an_index_of_release_0_1_is_followed_without_embedding_it_again(
    model: FakeModel, docs: Path
) -> None:
    """It kept the absolute path and the number of the piece in the metadata."""
    old = [
        Passage(
            f"docs/{n}.txt#0",
            f"text {n}",
            str(n),
            {"source": str(docs / f"{n}.txt"), "chunk": 0},
        )
        for n in range(20)
    ]
    write_version_1(Path("my.index"), old, model.embed_passages(old))
    (docs / "0.txt").write_text("news")
    (docs / "1.txt").unlink()
    report = sync(model)
    assert (report.embedded, report.passages) == (1, 19)
    assert report.files.removed == 1
    assert sync(model).files == FileCounts(unchanged=19)
    assert all(
        "source" not in one.metadata for one in PassageIndex.load(model, "my.index").passages
    )


def test_a_moved_project_of_release_0_1_leaves_no_doubles(model: FakeModel, docs: Path) -> None:
    old = [
        Passage(
            f"elsewhere/{n}.txt#0",
            f"text {n}",
            str(n),
            {"source": f"/not/here/elsewhere/{n}.txt", "chunk": 0},
        )
        for n in range(20)
    ]
    write_version_1(Path("my.index"), old, model.embed_passages(old))
    report = sync(model)
    assert (report.embedded, report.reused, report.passages) == (0, 20, 20)
    assert report.files == FileCounts(moved=20)


def test_records_keep_their_ids_when_their_file_is_renamed(model: FakeModel, docs: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"row {n}"} for n in range(5)]
    (docs / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sync(model)
    (docs / "rows.jsonl").rename(docs / "records.jsonl")
    assert sync(model).files == FileCounts(moved=1, unchanged=20)
    assert model.embedded == []
    assert "docs/rows.jsonl" not in sources(model)
    assert "r4#0" in PassageIndex.load(model, "my.index")


def test_a_name_in_another_encoding_is_not_taken_for_gone(model: FakeModel, indexed: Path) -> None:
    name = indexed / os.fsdecode(b"caf\xe9.txt")
    name.write_text("coffee")
    sync(model)
    assert "docs/caf\\xe9.txt" in sources(model)
    Path("other").mkdir()
    Path("other/a.txt").write_text("a")
    assert sync(model, "other", prune=True).files == FileCounts(added=1)
    name.unlink()
    assert sync(model).files == FileCounts(removed=1, unchanged=20)
