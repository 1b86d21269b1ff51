"""An index on disk: saved, loaded, damaged, and whole after a save that was stopped."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model.errors import PassageIndexError
from onegen_model.events import Passage
from onegen_model.retrieval import corpus
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import passages, query


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


def test_save_and_load(embedder: FakeEmbedder, tmp_path: Path) -> None:
    index = PassageIndex.build(embedder, passages(40))
    index.add_embedded(
        [Passage("ü", "two\nfragments")] * 2, np.stack([unit("fragment a"), unit("fragment b")])
    )
    index.delete(["0"])
    index.save(tmp_path / "my.index")
    index.save(str(tmp_path / "my.index"))
    assert len(visible(tmp_path / "my.index")) == 3
    embedder.embedded.clear()
    loaded = PassageIndex.load(embedder, tmp_path / "my.index")
    assert loaded.passages == index.passages
    asked = [query("fragment b"), query("title 9text 9", filter={"lang": "de"})]
    assert loaded.retrieve(asked) == index.retrieve(asked)
    loaded.add(index.passages)
    assert embedder.embedded == []


def test_save_and_load_empty(embedder: FakeEmbedder, tmp_path: Path) -> None:
    PassageIndex(embedder).save(tmp_path)
    assert len(PassageIndex.load(embedder, tmp_path)) == 0


@pytest.fixture
def saved(embedder: FakeEmbedder, tmp_path: Path) -> Path:
    path = tmp_path / "saved.index"
    PassageIndex.build(embedder, passages(30)).save(path)
    return path


def visible(path: Path) -> list[Path]:
    """Without the lock."""
    return sorted(file for file in path.iterdir() if not file.name.startswith("."))


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def test_load_where_nothing_is(embedder: FakeEmbedder, tmp_path: Path) -> None:
    with pytest.raises(PassageIndexError, match=r"There is no index at .*expected.*build"):
        PassageIndex.load(embedder, tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(PassageIndexError, match="is not an index"):
            PassageIndex.load(embedder, path)


def test_load_of_another_model_dimension_version(saved: Path) -> None:
    with pytest.raises(PassageIndexError, match="embedded by another model"):
        PassageIndex.load(FakeEmbedder(fingerprint="other"), saved)
    with pytest.raises(PassageIndexError, match="dimension 8; expected 16"):
        PassageIndex.load(FakeEmbedder(dimension=16), saved)
    edit_manifest(saved, version=3)
    with pytest.raises(PassageIndexError, match="format version 3; expected 2 or older"):
        PassageIndex.load(FakeEmbedder(), saved)
    edit_manifest(saved, format="something")
    with pytest.raises(PassageIndexError, match="is not an index"):
        PassageIndex.load(FakeEmbedder(), saved)


@pytest.mark.parametrize("pattern", ["vectors-*", "passages-*", "manifest.json"])
def test_load_of_a_damaged_index(embedder: FakeEmbedder, saved: Path, pattern: str) -> None:
    [file] = saved.glob(pattern)
    whole = file.read_bytes()
    for part in (whole[:-1], whole[: len(whole) // 2], b""):
        file.write_bytes(part)
        with pytest.raises(PassageIndexError, match=r"damaged|unreadable manifest"):
            PassageIndex.load(embedder, saved)
    file.write_bytes(whole[:-9] + b"\x00" + whole[-8:])
    with pytest.raises(PassageIndexError, match=r"damaged|unreadable|lacks"):
        PassageIndex.load(embedder, saved)
    file.unlink()
    with pytest.raises(PassageIndexError, match=r"lacks|half-written"):
        PassageIndex.load(embedder, saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": 3},
        {"shards": [{"count": 1}]},
        {"shards": [{"count": "1", "passages": "x", "vectors": "x"}]},
        {"shards": [{"count": -1, "passages": "x", "vectors": "x"}]},
        {"shards": [{"count": 1, "passages": None, "vectors": ["x"]}]},
        {"dimension": "8"},
        {"dimension": 0},
        {"fingerprint": None},
        {"stored_as": "text"},
        {"stored_as": None},
        {"shard_size": 0},
        {"shard_size": "20"},
    ],
)
def test_load_with_a_broken_manifest(
    embedder: FakeEmbedder, saved: Path, changes: dict[str, Any]
) -> None:
    edit_manifest(saved, **changes)
    with pytest.raises(PassageIndexError, match="incomplete manifest"):
        PassageIndex.load(embedder, saved)


def test_a_manifest_of_brackets_alone_is_unreadable(embedder: FakeEmbedder, saved: Path) -> None:
    (saved / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(PassageIndexError, match=r"unreadable manifest\.json"):
        PassageIndex.load(embedder, saved)


def test_save_never_replaces_other_files(embedder: FakeEmbedder, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    index = PassageIndex.build(embedder, passages(3))
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(PassageIndexError, match="is not an index"):
            index.save(path)
    (tmp_path / "manifest.json").write_text('{"format": "an app", "version": 1}')
    with pytest.raises(PassageIndexError, match="is not an index"):
        index.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written(embedder: FakeEmbedder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PassageIndexError, match="cannot be written"):
        PassageIndex(embedder).save(tmp_path / "file" / "index")


def test_a_killed_save_leaves_the_old_index(embedder: FakeEmbedder, tmp_path: Path) -> None:
    """Killed (-9) at the n-th change of the file system, for every n: one index is whole, and
    the next save succeeds.
    """
    script = """
        import os, signal, sys
        from onegen_model.retrieval.index import PassageIndex
        from tests.support.fake_embedder import FakeEmbedder
        from tests.support.indexes import passages

        def save_and_die(path, kill_at):
            calls = 0
            def hook(event, args):
                nonlocal calls
                if event in ("open", "os.rename", "os.remove") and path in str(args[0]):
                    if calls == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    calls += 1
            index = PassageIndex.load(FakeEmbedder(), path)
            index.add(passages(60))
            sys.addaudithook(hook)
            index.save(path)

        for kill_at, path in enumerate(sys.argv[1:]):
            child = os.fork()
            if child == 0:
                save_and_die(path, kill_at)
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    paths = [tmp_path / f"{n}.index" for n in range(24)]
    for path in paths:
        PassageIndex.build(embedder, passages(30)).save(path)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, paths)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    statuses = list(map(int, done.stdout.split()))
    kills = statuses.count(-signal.SIGKILL)
    assert kills > 6
    assert statuses == [-signal.SIGKILL] * kills + [0] * (len(paths) - kills)
    found = []
    for path in paths:
        loaded = PassageIndex.load(embedder, path)
        found.append(len(loaded))
        loaded.add(passages(61))
        loaded.save(path)
        assert len(PassageIndex.load(embedder, path)) == 61
    assert found == sorted(found)
    assert set(found) == {30, 60}


def test_a_killed_first_save(embedder: FakeEmbedder, tmp_path: Path) -> None:
    (tmp_path / "vectors-0123456789ab.npy").write_bytes(b"half")
    with pytest.raises(PassageIndexError, match="half-written"):
        PassageIndex.load(embedder, tmp_path)
    PassageIndex.build(embedder, passages(3)).save(tmp_path)
    assert len(PassageIndex.load(embedder, tmp_path)) == 3
    PassageIndex.build(embedder, passages(4)).save(tmp_path)
    assert len(visible(tmp_path)) == 3


def test_a_failing_save_leaves_the_old_index(
    embedder: FakeEmbedder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("No space left on device")

    index = PassageIndex.build(embedder, passages(60))
    before = visible(saved)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(PassageIndexError, match="No space left"):
            index.save(saved)
    assert visible(saved) == before
    assert len(PassageIndex.load(embedder, saved)) == 30


def test_a_file_that_vanishes_while_it_is_checked_is_looked_for_again(
    embedder: FakeEmbedder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = PassageIndex.build(embedder, passages(3))
    is_whole = corpus.is_whole

    def save_and_check(file: Path, expected: str = "") -> bool:
        monkeypatch.setattr(corpus, "is_whole", is_whole)
        index.save(saved)
        return is_whole(file, expected)

    monkeypatch.setattr(corpus, "is_whole", save_and_check)
    assert len(PassageIndex.load(embedder, saved)) == 3


def test_a_save_leaves_files_of_others_alone(saved: Path) -> None:
    notes = saved / "manifest-notes.txt"
    notes.write_text("dear")
    os.utime(notes, (0, 0))
    PassageIndex.load(FakeEmbedder(), saved).save(saved)
    assert notes.read_text() == "dear"


def test_a_save_interrupted_after_the_manifest_keeps_what_it_names(
    embedder: FakeEmbedder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def replace_and_interrupt(source: Path, target: Path) -> None:
        replace(source, target)
        if target.name == "manifest.json":
            raise KeyboardInterrupt

    index = PassageIndex.build(embedder, passages(60))
    monkeypatch.setattr(os, "replace", replace_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.save(saved)
    assert len(PassageIndex.load(embedder, saved)) == 60


def test_loading_while_another_saves(embedder: FakeEmbedder, saved: Path) -> None:
    index = PassageIndex.build(embedder, passages(30))
    stop = threading.Event()

    def save() -> None:
        while not stop.is_set():
            index.save(saved)
            index.add([Passage("one more", "text")])
            index.save(saved)
            index.delete(["one more"])

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save)
        try:
            for _ in range(50):
                assert len(PassageIndex.load(embedder, saved)) in (30, 31)
        finally:
            stop.set()
        saving.result()
