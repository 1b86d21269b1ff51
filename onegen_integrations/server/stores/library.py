"""All files and vector stores of one server."""

import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from onegen_integrations.server.durable import write_json
from onegen_integrations.server.errors import StorageError
from onegen_integrations.server.stores.folder import FileFolder, drop, kept, making, read_json
from onegen_integrations.server.stores.ingesting import Ingestion
from onegen_integrations.server.stores.names import new_id
from onegen_integrations.server.stores.records import Batch, StoreFile, StoreRecord
from onegen_integrations.server.stores.vector_store import VectorStore
from onegen_model import OneGenModel, PassageIndex

LOCK = "server.lock"


class Library:
    """The folder of a server, held until `close`; safe to use from several threads.

    Raises StorageError for a folder that another server holds, that cannot be written, or whose
    vector stores are of another model.
    """

    def __init__(self, folder: Path, model: OneGenModel) -> None:
        self._folder, self._model = folder / "stores", model
        self._lock = threading.RLock()
        self._held = _hold(folder)
        try:
            self.files = FileFolder(folder / "files")
            self._folder.mkdir(exist_ok=True)
            self._stores = self._open_stores(folder)
        except BaseException:
            self._held.release()
            raise
        self._work = Ingestion(model, self.files)
        for store in self.stores:
            self._take_up(store, store.record.files.values())

    @property
    def stores(self) -> list[VectorStore]:
        """The oldest first."""
        with self._lock:
            return list(self._stores.values())

    def get(self, store_id: str) -> VectorStore | None:
        """The store of an id, if there is one."""
        return self._stores.get(store_id)

    def create(
        self, name: str, description: str, metadata: Mapping[str, str], scope: Mapping[str, Any]
    ) -> VectorStore:
        """An empty vector store, which survives a kill."""
        record = StoreRecord(
            new_id("vs_"),
            name,
            time.time(),
            self._model.fingerprint,
            metadata,
            description,
            scope,
        )
        folder = self._folder / record.id
        with making(folder, "vector store"):
            write_json(folder / "store.json", record.to_json())
        store = VectorStore(folder, record, PassageIndex(self._model))
        with self._lock:
            self._stores[record.id] = store
        return store

    def delete(self, store: VectorStore) -> None:
        """Remove a store; its files stay."""
        with self._lock:
            self._stores.pop(store.id, None)
        store.delete()
        drop(self._folder / store.id, "store.json")

    def add_files(
        self, store: VectorStore, files: Sequence[StoreFile], *, in_batch: bool = False
    ) -> Batch:
        """Add files to a store, or change those that it has; they are read in the background."""
        batch = Batch(new_id("vsfb_"), time.time(), tuple(one.id for one in files))

        def change(record: StoreRecord) -> StoreRecord:
            record = record.with_files(files)
            return record.with_batch(batch) if in_batch else record

        store.edit(change)
        self._take_up(store, files)
        return batch

    def delete_file(self, file_id: str) -> None:
        """Remove a file, from all stores too."""
        for store in self.stores:
            if file_id in store.record.files:
                store.forget(file_id)
        self.files.remove(file_id)

    def close(self) -> None:
        """Stop the background work, and let the folder go."""
        self._work.close()
        self._held.release()

    def _take_up(self, store: VectorStore, files: Iterable[StoreFile]) -> None:
        waiting = [one.id for one in files if one.status == "in_progress"]
        self._work.take_up(store, waiting)

    def _open_stores(self, folder: Path) -> dict[str, VectorStore]:
        records = list(map(_read_record, kept(self._folder, "store.json")))
        made = {one.fingerprint for one in records} - {self._model.fingerprint}
        if made:
            raise StorageError(
                f"{folder} holds vector stores of another model ({min(made)[:12]}); expected those "
                f"of {self._model.fingerprint[:12]}, the first model that is served; serve the "
                "model that made them first, or choose another --storage DIR"
            )
        records.sort(key=lambda one: one.created)
        return {one.id: self._open(one) for one in records}

    def _open(self, record: StoreRecord) -> VectorStore:
        folder = self._folder / record.id
        saved = folder / "index"
        if (saved / "manifest.json").exists():
            index = PassageIndex.load(self._model, saved)
        else:  # Nothing was finished yet.
            shutil.rmtree(saved, ignore_errors=True)
            index = PassageIndex(self._model)
        store = VectorStore(folder, record, index)
        store.tidy()
        return store


def _hold(folder: Path) -> filelock.FileLock:
    """The lock of the folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK, thread_local=False)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StorageError(
            f"Another server holds {folder}; expected one server on a folder; stop it, or choose "
            "another --storage DIR"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror}); expected a folder for files and "
            "vector stores; choose another --storage DIR"
        ) from error
    return lock


def _read_record(folder: Path) -> StoreRecord:
    path = folder / "store.json"
    try:
        return StoreRecord.from_json(read_json(path))
    except (TypeError, KeyError) as error:
        raise StorageError(
            f"{path} is not of this release; expected what this server wrote; choose another "
            "--storage DIR, or use the release that wrote it"
        ) from error
