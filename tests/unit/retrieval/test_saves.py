"""Saves of an index that fail or are interrupted at an awkward moment, and what follows."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from onegen_model.errors import PassageIndexError
from onegen_model.events import Passage
from onegen_model.retrieval import corpus_writer, folders
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexes import passages


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def saved(embedder: FakeEmbedder, tmp_path: Path) -> Path:
    path = tmp_path / "my.index"
    PassageIndex.build(embedder, passages(3)).save(path)
    return path


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_after_an_interrupt_or_error_behind_the_manifest_the_same_index_saves_again(
    embedder: FakeEmbedder, saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    index = PassageIndex.load(embedder, saved)
    index.add([Passage("one more", "text")])

    def fail(path: Path) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(corpus_writer, "sync_folder", fail)
        with pytest.raises((KeyboardInterrupt, PassageIndexError)):
            index.save(saved)
    index.add([Passage("another", "text")])
    index.save(saved)
    assert len(PassageIndex.load(embedder, saved)) == 5


def test_a_replaced_file_that_cannot_be_removed_does_not_fail_the_save(
    embedder: FakeEmbedder,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "not allowed", str(path))

    index = PassageIndex.load(embedder, saved)
    index.add([Passage("one more", "text")])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        index.save(saved)
    assert "cannot be removed" in caplog.text
    assert len(PassageIndex.load(embedder, saved)) == 4
    index.save(saved)
    assert len(list(saved.glob("vectors-*"))) == 1


def test_a_folder_that_vanishes_during_a_save_is_one_clear_error(
    embedder: FakeEmbedder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = PassageIndex.load(embedder, saved)
    index.add([Passage("one more", "text")])
    real = os.fsync

    def vanish(descriptor: int) -> None:
        real(descriptor)
        shutil.rmtree(saved, ignore_errors=True)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", vanish)
        with pytest.raises(PassageIndexError, match="cannot be written"):
            index.save(saved)
    index.save(saved)
    assert len(PassageIndex.load(embedder, saved)) == 4


def test_a_power_failure_never_leaves_a_manifest_without_its_shards(
    embedder: FakeEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[set[str]] = []
    real = folders.sync_folder

    def sync(path: Path) -> None:
        synced.append({file.name for file in path.iterdir()})
        real(path)

    monkeypatch.setattr(folders, "sync_folder", sync)
    PassageIndex.build(embedder, passages(3)).save(tmp_path)
    [before] = synced
    assert "manifest.json" not in before
    assert {file.name for file in tmp_path.iterdir()} - before == {"manifest.json"}
