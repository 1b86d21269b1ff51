"""Nothing is in an index twice, or stays under a name that no file has any more."""

import json
import os
from pathlib import Path

import pytest

from onegen_model import FileCounts, IndexingOptions, PassageIndex, grow_index, scan_files
from onegen_model.documents.failures import UnreadableFilesError
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.places import place_of
from tests.support.fake_model import FakeModel


def held(model: FakeModel) -> list[tuple[str, str]]:
    passages = PassageIndex.load(model, "i").passages
    return sorted((place.source, one.text) for one in passages if (place := place_of(one)))


@pytest.fixture
def few(docs: Path) -> Path:
    for n in range(2, 20):
        (docs / f"{n}.txt").unlink()
    return docs


def test_a_link_to_an_indexed_file_leaves_no_stale_copy(model: FakeModel, few: Path) -> None:
    grow_index(model, ["docs"], "i")
    (few / "0-link.txt").symlink_to("1.txt")
    assert grow_index(model, ["docs"], "i").files == FileCounts(moved=1, unchanged=1)
    (few / "1.txt").write_text("new")
    grow_index(model, ["docs"], "i")
    assert held(model) == [("docs/0-link.txt", "new"), ("docs/0.txt", "text 0")]
    (few / "0-link.txt").unlink()
    grow_index(model, ["docs"], "i")
    assert held(model) == [("docs/0.txt", "text 0"), ("docs/1.txt", "new")]


def test_a_file_that_became_a_folder_is_gone(model: FakeModel, few: Path) -> None:
    grow_index(model, ["docs"], "i")
    (few / "1.txt").unlink()
    (few / "1.txt").mkdir()
    (few / "1.txt" / "a.txt").write_text("inside")
    grow_index(model, ["docs"], "i")
    assert held(model) == [("docs/0.txt", "text 0"), ("docs/1.txt/a.txt", "inside")]


def test_a_name_that_cannot_be_told_from_another_is_not_lost_silently(
    model: FakeModel, few: Path
) -> None:
    Path(os.fsdecode(os.fsencode(few) + b"/b\xff.txt")).write_text("one")
    (few / r"b\xff.txt").write_text("other")
    with pytest.raises(UnreadableFilesError, match="another file has the same name"):
        grow_index(model, ["docs"], "i")
    report = grow_index(model, ["docs"], "i", options=IndexingOptions(skip_bad=True))
    assert len(report.failures) == 1
    assert len(held(model)) == 3


def test_two_files_do_not_take_a_record_from_each_other(model: FakeModel, few: Path) -> None:
    line = json.dumps({"id": "r", "text": "same"})
    (few / "a.jsonl").write_text(line)
    grow_index(model, ["docs"], "i")
    (few / "b.jsonl").write_text(f"{line}\n")
    with pytest.raises(InvalidInputError, match=r"with the id 'r#0', from docs/a\.jsonl"):
        grow_index(model, ["docs"], "i")
    (few / "a.jsonl").unlink()
    grow_index(model, ["docs/b.jsonl"], "i")
    assert ("docs/b.jsonl", "same") in held(model)


def test_an_empty_path_is_not_the_working_directory(model: FakeModel, few: Path) -> None:
    with pytest.raises(InvalidInputError, match="The name of a file or folder is empty"):
        grow_index(model, [""], "i")


def test_a_scan_refuses_the_folders_that_a_sync_refuses(model: FakeModel, few: Path) -> None:
    with pytest.raises(PassageIndexError, match="docs is not an index"):
        scan_files(model, ["docs"], "docs")


def test_an_index_beside_an_empty_file_is_not_written_again(model: FakeModel, few: Path) -> None:
    (few / "empty.txt").touch()
    grow_index(model, ["docs"], "i")
    before = (few.parent / "i" / "manifest.json").stat().st_ino
    assert grow_index(model, ["docs"], "i").files == FileCounts(unchanged=2)
    assert (few.parent / "i" / "manifest.json").stat().st_ino == before


def test_a_stop_while_files_are_read_ends_the_reading(model: FakeModel, few: Path) -> None:
    report = grow_index(model, ["docs"], "i", should_stop=lambda: True)
    assert (report.unread, report.is_whole, model.embedded) == (2, False, [])
    assert not (few.parent / "i").exists()


def test_what_is_unreadable_elsewhere_is_told_apart_with_dots_in_its_path(
    model: FakeModel, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (few.parent / "deep").mkdir()
    monkeypatch.chdir(few.parent / "deep")
    (few / "sub").mkdir()
    (few / "sub" / "a.txt").write_text("kept")
    grow_index(model, [few], "i")
    scandir = os.scandir

    def failing(folder: Path) -> object:
        if Path(folder).name == "sub":
            raise FileNotFoundError(2, "gone away", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", failing)
    (few / "sub" / "a.txt").unlink()
    grow_index(model, [few], "i", options=IndexingOptions(skip_bad=True))
    assert ("../docs/sub/a.txt", "kept") in held(model)
