import inspect
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from onegen_model import FailedFile, Passage, PassageIndex, ReadingOptions, read_documents
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.errors import InvalidInputError
from tests.support.fake_embedder import FakeEmbedder


def write(*names: str, text: str = "text") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def found(*paths: str, **options: Any) -> list[str]:
    files = find_files(paths or ["."], ReadingOptions(**options)).files
    return sorted(file.as_posix() for file in files)


def test_binary_files_and_indexes_are_skipped_and_counted(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(".git/x.txt", ".hidden.txt", "photo.jpg", "more/scan.jpg", "film.mp4", "ok.txt", "notes")
    (here / "data.xyz").write_bytes(b"\x00\x01binary")
    PassageIndex(FakeEmbedder()).save(here / "my.index")
    write("my.index/notes.txt")
    with caplog.at_level(logging.WARNING):
        result = find_files(["."])
        warn_of_skipped(result)
    assert sorted(file.name for file in result.files) == ["notes", "ok.txt"]
    assert "4 files of unknown kind were skipped (2 .jpg, 1 .xyz, 1 .mp4" in caplog.text
    with pytest.raises(InvalidInputError, match=r"my\.index is an index"):
        find_files(["my.index"])
    for name in ("photo.jpg", "more/scan.jpg", "film.mp4"):
        (here / name).unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_of_skipped(find_files(["."]))
    assert "1 file of unknown kind was skipped (1 .xyz; the first: data.xyz)" in caplog.text


def test_a_manifest_of_another_program_hides_no_document(here: Path) -> None:
    for name, manifest in (("app", '{"name": "an extension"}'), ("odd", "[1]"), ("torn", "{")):
        write(f"{name}/readme.md")
        (here / name / "manifest.json").write_text(manifest)
        assert f"{name}/readme.md" in found(name)
    index = here / "torn" / "my.index"
    PassageIndex.build(FakeEmbedder(), [Passage("a", "text")]).save(index)
    (index / "manifest.json").write_text("{")
    write("torn/my.index/notes.txt")
    assert "torn/my.index/notes.txt" not in found()


def test_a_folder_inside_its_own_index_is_read(here: Path) -> None:
    PassageIndex(FakeEmbedder()).save(here / "my.index")
    write("my.index/docs/a.txt")
    assert found("my.index/docs") == ["my.index/docs/a.txt"]


def test_bad_paths(here: Path) -> None:
    (here / "empty").mkdir()
    write("other/a.jpg")
    (here / "broken.txt").symlink_to("nowhere")
    for path, more in (("empty", ""), ("other", r" \(1 files of other kinds\)")):
        with pytest.raises(InvalidInputError, match=f"The folder {path} holds no documents{more};"):
            find_files([path])
    for path in ("missing", "missing.txt", "broken.txt", "other/a.jpg/x.txt"):
        with pytest.raises(InvalidInputError, match=f"There is no file or folder {path}"):
            find_files([path])
    with pytest.raises(InvalidInputError, match=r"a\.jpg is of an unknown kind; expected"):
        find_files(["other/a.jpg"])
    with pytest.raises(InvalidInputError, match="The paths are 3; expected paths"):
        find_files(3)  # type: ignore[arg-type]


# --- patterns and ignore files ---


def test_include_and_exclude(here: Path) -> None:
    write("a.md", "b.txt", "old/c.md", "deep/old/d.md", "deep/e.md")
    assert found(include=["*.md"]) == ["a.md", "deep/e.md", "deep/old/d.md", "old/c.md"]
    assert found(include=["*.md"], exclude=["old/"]) == ["a.md", "deep/e.md"]
    assert found(exclude=["/old", "*.txt"]) == ["a.md", "deep/e.md", "deep/old/d.md"]
    assert found("b.txt", exclude=["*.txt"]) == ["b.txt"]  # named itself


def test_hidden_files(here: Path) -> None:
    write(".a.txt", ".deep/b.txt", "c.txt", ".git/config")
    assert found() == ["c.txt"]
    assert found(hidden=True) == [".a.txt", ".deep/b.txt", "c.txt"]
    assert found(".a.txt") == [".a.txt"]
    assert found(".deep") == [".deep/b.txt"]


def test_ignore_files_are_followed(here: Path) -> None:
    write("a.txt", "b.log", "keep.log", "deep/c.txt", "deep/d.tmp", "build/e.txt", "deep/f.log")
    (here / ".ignore").write_text("*.log\n!keep.log\nbuild/\n")
    (here / "deep" / ".ignore").write_text("*.tmp\n!f.log\n")
    assert found() == ["a.txt", "deep/c.txt", "deep/f.log", "keep.log"]
    assert found("deep") == ["deep/c.txt", "deep/f.log"]
    assert found("b.log") == ["b.log"]
    assert found("build") == ["build/e.txt"]  # named itself, though it is ignored
    assert len(found(use_ignore_files=False)) == 7


def test_gitignore_counts_inside_a_repository_only(here: Path) -> None:
    write("repo/a.txt", "repo/b.log", "repo/sub/c.log", "repo/sub/d.txt", "repo/e.bak")
    (here / ".gitignore").write_text("*.txt\n")
    (here / "repo" / ".gitignore").write_text("*.log\n")
    assert len(found("repo")) == 5
    write("repo/.git/info/exclude", text="*.bak\n")
    assert found("repo") == ["repo/a.txt", "repo/sub/d.txt"]
    assert found("repo/sub") == ["repo/sub/d.txt"]  # the rules around it count, too
    assert found("repo/sub/c.log") == ["repo/sub/c.log"]
    (here / "repo" / ".ignore").write_text("!b.log\n")
    assert "repo/b.log" in found("repo")


# --- links, folders and names that make trouble ---


def test_links(here: Path) -> None:
    write("docs/a.txt", "elsewhere/b.txt")
    (here / "docs" / "linked.txt").symlink_to("../elsewhere/b.txt")
    (here / "docs" / "again.txt").symlink_to("a.txt")
    (here / "docs" / "folder").symlink_to("../elsewhere")
    (here / "docs" / "loop").symlink_to(".")
    (here / "docs" / "self.txt").symlink_to("self.txt")
    (here / "docs" / "broken.txt").symlink_to("nowhere")
    failures: list[FailedFile] = []
    read = list(read_documents(["docs"], on_failure=failures.append))
    assert [doc.source for doc in read] == ["docs/a.txt", "docs/linked.txt"]
    assert [failure.path.name for failure in failures] == ["broken.txt", "self.txt"]
    assert failures[0].reason == "it is a link to a file that is missing"
    assert [path.name for path in find_files(["docs"]).skipped] == ["folder", "loop"]
    (here / "named").symlink_to("elsewhere")
    assert found("named") == ["named/b.txt"]


@pytest.fixture
def closed(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that may not be listed, also for root."""
    write("docs/closed/a.txt", "docs/ok.txt")
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return "docs/closed"


def test_an_unreadable_folder_fails_alone(closed: str) -> None:
    failures: list[FailedFile] = []
    read = list(read_documents(["docs"], on_failure=failures.append))
    assert [doc.source for doc in read] == ["docs/ok.txt"]
    assert [str(failure) for failure in failures] == [
        "docs/closed: it cannot be read (Permission denied)"
    ]
    with pytest.raises(InvalidInputError, match=r"^docs/closed: it cannot be read"):
        list(read_documents(["docs"]))
    with pytest.raises(InvalidInputError, match=r"^docs/closed: it cannot be read"):
        read_documents([closed])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(here: Path) -> None:
    write("a.txt")
    os.mkfifo(here / "pipe.txt")
    assert found() == ["a.txt"]
    with pytest.raises(InvalidInputError, match=r"pipe\.txt is of an unknown kind"):
        find_files(["pipe.txt"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no UTF-8")
def test_names_that_are_no_text(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    (here / "docs").mkdir()
    for name in (b"caf\xe9.txt", b"t\xfcr.md", b"bad\xff.pdf", b"z\xe9.jpg"):
        Path(os.fsdecode(b"docs/" + name)).write_text("plain text")
    failures: list[FailedFile] = []
    with caplog.at_level(logging.WARNING):
        read = list(read_documents(["docs"], on_failure=failures.append))
    assert [(doc.id, doc.title) for doc in read] == [
        ("docs/caf\\xe9.txt", "caf\\xe9"),
        ("docs/t\\xfcr.md", "t\\xfcr"),
    ]
    texts = [doc.place for doc in read] + [str(failure) for failure in failures] + [caplog.text]
    assert len(failures) == 1
    for text in texts:
        json.dumps(text, ensure_ascii=False).encode()


def test_folders_may_be_nested_deeper_than_calls(here: Path) -> None:
    write("/".join(["d"] * 150 + ["a.txt"]))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        [file] = find_files(["d"], ReadingOptions(use_ignore_files=False)).files
    finally:
        sys.setrecursionlimit(before)
    assert len(file.parts) == 151


def test_an_empty_file_is_skipped_whatever_its_kind(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "a.pdf").touch()
    (here / "a.docx").touch()
    assert not list(read_documents(["a.pdf", "a.docx"]))
    assert caplog.messages == ["a.pdf and 1 more are empty and were skipped"]
    caplog.clear()
    assert not list(read_documents(["a.pdf"]))
    assert caplog.messages == ["a.pdf is empty and was skipped"]
