"""What a killed server has acknowledged is there when it starts again."""

import io
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onegen_integrations.server import Serving
from onegen_integrations.server.errors import NotFoundError, StorageError
from onegen_integrations.server.stores.ingesting import Ingestion
from onegen_integrations.server.stores.library import Library
from onegen_integrations.server.stores.reading import PassageSource
from onegen_integrations.server.stores.records import StoreFile
from onegen_integrations.server.stores.vector_store import VectorStore
from onegen_model import OneGenModel, Passage, PassageIndex

TEXT = "Alba was founded by Ann."


def add(library: Library, *texts: str) -> VectorStore:
    """A store with one file for each text."""
    store = library.create("Towns", "", {}, {})
    contents = [io.BytesIO(text.encode()) for text in texts]
    records = [library.files.add(one, "a.txt", "assistants", {}) for one in contents]
    library.add_files(store, [StoreFile(one.id, time.time(), {"n": 1}) for one in records])
    return store


def wait(store: VectorStore) -> None:
    until = time.monotonic() + 60
    while any(one.status == "in_progress" for one in store.record.files.values()):
        assert time.monotonic() < until
        time.sleep(0.01)


def texts(store: VectorStore) -> set[str]:
    return {one.text for one in store.index.passages}


def stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is brought in, as if the server were killed before."""
    monkeypatch.setattr(Ingestion, "_bring_in", lambda *_: None)


# A server that dies while it embeds: it acknowledges, and nothing is brought in.
DYING = """
import io, sys, time
from pathlib import Path
from types import SimpleNamespace
from onegen_integrations.server.stores.ingesting import Ingestion
from onegen_integrations.server.stores.library import Library
from onegen_integrations.server.stores.records import StoreFile

Ingestion._bring_in = lambda *_: time.sleep(60)
model = SimpleNamespace(fingerprint=sys.argv[2], dimension=int(sys.argv[3]))
library = Library(Path(sys.argv[1]), model)
store = library.create("Towns", "", {}, {})
for text in sys.argv[4:]:
    record = library.files.add(io.BytesIO(text.encode()), "a.txt", "assistants", {})
    library.add_files(store, [StoreFile(record.id, time.time(), {"n": 1})])
print(store.id, flush=True)
time.sleep(60)
"""


def test_a_killed_server_loses_nothing_it_has_acknowledged(
    model: OneGenModel, tmp_path: Path
) -> None:
    folder = tmp_path / "storage"
    with closing(Library(folder, model)) as library:
        done = add(library, TEXT)
        wait(done)
    uploads = [TEXT, "Brig was built by Ben."]
    arguments = [folder, model.fingerprint, str(model.dimension), *uploads]
    with subprocess.Popen(
        [sys.executable, "-c", DYING, *arguments], stdout=subprocess.PIPE, text=True
    ) as dying:
        assert dying.stdout is not None
        store_id = dying.stdout.readline().strip()
        with pytest.raises(StorageError, match="Another server holds"):
            Library(folder, model)
        dying.kill()
    with closing(Library(folder, model)) as library:
        store = library.get(store_id)
        kept = library.get(done.id)
        assert store is not None
        assert kept is not None
        wait(store)
        assert texts(store) == set(uploads)
        assert [one.metadata["n"] for one in store.index.passages] == [1, 1]
        assert texts(kept) == {TEXT}


def test_a_server_stops_in_the_middle_of_a_file_and_goes_on_later(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    begun, embed = threading.Event(), OneGenModel.embed_passages

    def counted(self: OneGenModel, passages: Sequence[Passage], **options: Any) -> Any:
        calls.append(len(passages))
        begun.set()
        time.sleep(0.05)
        return embed(self, passages, **options)

    monkeypatch.setattr(OneGenModel, "embed_passages", counted)
    library = Library(tmp_path, model)
    rows = "".join(json.dumps({"text": f"Town {n}."}) + "\n" for n in range(80))
    store = library.create("", "", {}, {})
    record = library.files.add(io.BytesIO(rows.encode()), "a.jsonl", "assistants", {})
    library.add_files(store, [StoreFile(record.id, time.time())])
    assert begun.wait(60)
    library.close()
    assert sum(calls) < 80
    assert not store.index.passages  # A search sees all of a file or nothing.
    with closing(Library(tmp_path, model)) as library:
        again = library.get(store.id)
        assert again is not None
        wait(again)
        assert len(again.index) == 80


def test_a_server_does_not_wait_for_a_long_conversion(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = PassageSource.passages

    def slow(self: PassageSource, model: OneGenModel) -> list[Passage]:
        begun.set()
        assert go_on.wait(60)
        return read(self, model)

    monkeypatch.setattr(PassageSource, "passages", slow)
    monkeypatch.setattr("onegen_integrations.server.stores.ingesting._PATIENCE", 0.0)
    library = Library(tmp_path, model)
    store = add(library, TEXT)
    assert begun.wait(60)
    library.close()
    monkeypatch.undo()
    with closing(Library(tmp_path, model)) as next_one:
        go_on.set()  # What is left of the old server changes nothing.
        again = next_one.get(store.id)
        assert again is not None
        wait(again)
        assert texts(again) == {TEXT}
        until = time.monotonic() + 30
        while sum(one.name == "onegen-stores" for one in threading.enumerate()) > 1:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert [one.status for one in store.record.files.values()] == ["in_progress"]


def test_what_was_half_made_or_half_removed_is_cleared(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Library(tmp_path, model)) as library:
        store, other = add(library, TEXT, "Brig was built by Ben."), add(library, TEXT)
        wait(store)
        wait(other)
        gone, _ = store.record.files
        # Killed after the record was written, and before the index was.
        store.edit(lambda record: record.without_file(gone))
    (tmp_path / "stores" / other.id / "store.json").unlink()
    half = tmp_path / "files" / "file-half"
    half.mkdir()
    (half / ".0.staged").write_bytes(b"Al")
    with closing(Library(tmp_path, model)) as library:
        (kept,) = library.stores
        assert texts(kept) == {"Brig was built by Ben."}
        assert len(library.files.records) == 3
    assert not half.exists()
    assert not (tmp_path / "stores" / other.id).exists()


def test_a_folder_that_cannot_be_used_is_one_clear_error(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall(monkeypatch)
    with closing(Library(tmp_path, model)) as library:
        store = add(library, TEXT)
        with pytest.raises(StorageError, match=r"Another server holds .*--storage"):
            Library(tmp_path, model)
    path = tmp_path / "stores" / store.id / "store.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "fingerprint": "f" * 64}))
    with pytest.raises(StorageError, match=r"of another model .*--storage"):
        Library(tmp_path, model)
    path.write_text(json.dumps({"id": "vs_1"}))
    with pytest.raises(StorageError, match="not of this release"):
        Library(tmp_path, model)
    path.write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        Library(tmp_path, model)
    shutil.rmtree(path.parent)
    Library(tmp_path, model).close()  # Every failed start has let the folder go.
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Library(tmp_path / "file", model)


def test_a_search_sees_a_file_before_or_after_a_change(model: OneGenModel, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"Town {n}."}) + "\n" for n in range(20))
    vector = model.embed_queries(["Where?"])
    seen: set[int] = set()
    done = threading.Event()
    with closing(Library(tmp_path, model)) as library:
        store = library.create("", "", {}, {})

        def search() -> None:
            while not done.is_set():
                seen.add(len(store.index.search(vector, 50)[0]))

        searching = threading.Thread(target=search)
        searching.start()
        record = library.files.add(io.BytesIO(rows.encode()), "a.jsonl", "assistants", {})
        for _ in range(3):
            library.add_files(store, [StoreFile(record.id, time.time())])
            wait(store)
            store.forget(record.id)
        done.set()
        searching.join()
    assert seen <= {0, 20}


def test_a_store_that_was_deleted_changes_no_more(model: OneGenModel, tmp_path: Path) -> None:
    with closing(Library(tmp_path, model)) as library:
        store = add(library, TEXT)
        library.delete(store)
        with pytest.raises(NotFoundError, match="was deleted"):
            store.forget("file-1")
    with closing(Library(tmp_path, model)) as library:
        assert library.stores == []


def test_requests_search_uploads_and_the_index_together(
    serve: Callable[..., Serving], index: PassageIndex
) -> None:
    serving = serve()
    with closing(serving):
        store = add(serving.library, "Cara is a river.")
        wait(store)
        assert serving.retriever([store.id]) is store.index
        merged = serving.retriever([store.id, "vs_index"])
        assert merged is not None
        (only,) = store.index.passages
        assert merged.get(only.id) == serving.passage(only.id) == only
        assert merged.get("alba") == serving.passage("alba") == index.get("alba")
        with pytest.raises(NotFoundError):
            serving.retriever([store.id, "vs_other"])
