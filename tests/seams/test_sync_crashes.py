"""A sync that is killed, or that meets a full disk or a closed folder, loses nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from onegen_model import IndexingOptions, PassageIndex, grow_index
from onegen_model.documents.failures import UnreadableFilesError
from onegen_model.errors import PassageIndexError
from onegen_model.places import place_of
from onegen_model.retrieval import corpus_writer
from tests.support.fake_model import ROOT, FakeModel

SCRIPT = """
    import os, signal, sys
    from onegen_model import IndexingOptions, grow_index
    from onegen_model.retrieval import corpus_writer
    from tests.support.fake_model import FakeModel

    where, count = sys.argv[1], int(sys.argv[2])

    def kill_at(*_, **options):
        global count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    model = FakeModel()
    if where == "embedding":
        model.on_embed = kill_at
    else:
        real = getattr(corpus_writer, where)
        def wrapped(*arguments, **options):
            kill_at()
            return real(*arguments, **options)
        setattr(corpus_writer, where, wrapped)
    grow_index(model, ["docs"], "my.index", options=IndexingOptions(batch=3, save_every=0))
"""


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that is not in step: files are new, changed, shifted, moved and gone."""
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    write_rows(docs, [f"row {n}" for n in range(12)])
    (docs / "long.txt").write_text("\n\n".join(f"{letter} " * 30 for letter in "abcd"))
    (docs / "gone.txt").write_text("gone")
    (docs / "moved.md").write_text("# Moved\n\ntext")
    grow_index(FakeModel(), ["docs"], "my.index")
    write_rows(docs, ["a new row", *(f"row {n}" for n in range(12)), "another"])
    (docs / "long.txt").write_text("\n\n".join(f"{letter} " * 30 for letter in "xabyd"))
    (docs / "gone.txt").unlink()
    (docs / "sub").mkdir()
    (docs / "moved.md").rename(docs / "sub" / "elsewhere.md")
    return docs


def write_rows(docs: Path, texts: list[str]) -> None:
    (docs / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))


def content(path: str = "my.index") -> dict[str, Any]:
    return {
        passage.id: (passage, row.tolist())
        for some, rows in PassageIndex.load(FakeModel(), path).batches()
        for passage, row in zip(some, rows, strict=True)
    }


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("embedding", 1),
        ("embedding", 2),
        ("write_vectors", 1),
        ("write_vectors", 2),
        ("replace_manifest", 2),
        ("sync_folder", 1),
        ("sync_folder", 3),
        ("remove_unnamed", 2),
    ],
)
def test_after_a_kill_at_any_point_the_next_sync_makes_it_whole(
    docs: Path, where: str, count: int
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), where, str(count)],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert content(), "whole at any time"
    grow_index(FakeModel(), ["docs"], "my.index")
    grow_index(FakeModel(), ["docs"], "fresh.index")
    assert content() == content("fresh.index")


def test_without_room_the_old_index_stays_and_the_same_call_continues(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real, calls = content(), corpus_writer.write_vectors, []

    def fill_the_disk(*arguments: Any) -> str:
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    model = FakeModel()
    with monkeypatch.context() as patched:
        patched.setattr(corpus_writer, "write_vectors", fill_the_disk)
        with pytest.raises((PassageIndexError, OSError), match="No space left on device"):
            grow_index(model, ["docs"], "my.index", options=IndexingOptions(save_every=0))
    assert content() == before
    assert grow_index(model, ["docs"], "my.index").is_whole
    grow_index(model, ["docs"], "fresh.index")
    assert content() == content("fresh.index")


def test_a_reader_sees_a_whole_index_after_each_save(docs: Path) -> None:
    model, seen = FakeModel(), []
    model.on_embed = lambda: seen.append(len(content()))
    grow_index(model, ["docs"], "my.index", options=IndexingOptions(batch=1, save_every=0))
    assert len(seen) >= 4
    assert all(seen)


def test_a_closed_folder_keeps_its_passages(
    docs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    grow_index(FakeModel(), ["docs"], "my.index")
    real = os.scandir

    def closed(path: Any = ".") -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UnreadableFilesError, match=r"docs/sub: .*Permission denied"):
        grow_index(FakeModel(), ["docs"], "my.index")
    report = grow_index(FakeModel(), ["docs"], "my.index", options=IndexingOptions(skip_bad=True))
    assert [str(failure.path) for failure in report.failures] == ["docs/sub"]
    places = map(place_of, PassageIndex.load(FakeModel(), "my.index").passages)
    assert "docs/sub/elsewhere.md" in {place.source for place in places if place}
    assert "docs/sub" in caplog.text


def test_an_index_below_a_closed_folder_is_one_clear_error(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", "closed")

    for name in ("iterdir", "exists"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, closed)
            with pytest.raises(PassageIndexError, match="Permission denied"):
                grow_index(FakeModel(), ["docs"], "closed/my.index")
            with pytest.raises(PassageIndexError):
                PassageIndex.load(FakeModel(), "closed/my.index")
