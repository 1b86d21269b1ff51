"""One vector store: its record and its index, which change together."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from onegen_integrations.server.durable import write_json
from onegen_integrations.server.errors import NotFoundError, keeping
from onegen_integrations.server.stores.names import owner_of
from onegen_integrations.server.stores.records import Batch, StoreFile, StoreRecord
from onegen_model import Passage, PassageIndex

Edit = Callable[[StoreRecord], StoreRecord]
Embed = Callable[[Sequence[Passage]], PassageIndex | None]


class VectorStore:
    """A record that is replaced as a whole, and the index of its files.

    A search sees the passages as they were when it began. What the record says is done is in the
    saved index; the other way round, the index may hold more after a kill, which `tidy` removes.
    """

    def __init__(self, folder: Path, record: StoreRecord, index: PassageIndex) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self.record, self.index = record, index
        self.is_deleted = False

    @property
    def id(self) -> str:
        """The id of the store."""
        return self.record.id

    def edit(self, change: Edit) -> StoreRecord:
        """Replace the record, on disk first."""
        with self._lock:
            if self.is_deleted:
                raise NotFoundError(f"{self.id} was deleted; expected a vector store; make one")
            record = change(self.record)
            with keeping("vector store"):
                write_json(self._folder / "store.json", record.to_json())
            self.record = record
            return record

    def delete(self) -> None:
        """Stop all work on the store; its folder can be removed."""
        with self._lock:
            self.is_deleted = True
            self.record = replace(self.record, files={}, batches={})

    def passages(self, file_id: str) -> list[Passage]:
        """The passages of a file, in order."""
        return [one for one in self.index.passages if owner_of(one.id) == (self.id, file_id)]

    def forget(self, file_id: str) -> None:
        """Remove a file and its passages."""
        with self._lock:
            self.edit(lambda record: record.without_file(file_id))
            self._remove(self.passages(file_id))

    def cancel(self, batch: Batch) -> Batch:
        """Leave out what is not finished of a batch."""
        cancelled = replace(batch, is_cancelled=True)
        with self._lock:
            for file_id in batch.file_ids:
                file = self.record.files.get(file_id)
                if file and file.status == "in_progress":
                    self.settle(file, replace(file, status="cancelled"))
            self.edit(lambda record: record.with_batch(cancelled))
        return cancelled

    def tidy(self) -> None:
        """Remove passages of files that the store does not have any more."""
        files = self.record.files
        owners = ((one, owner_of(one.id)) for one in self.index.passages)
        self._remove([one for one, owner in owners if owner is None or owner[1] not in files])

    def is_current(self, file: StoreFile) -> bool:
        """Whether the file is still to be brought into the index, as it was when work began."""
        return self.record.files.get(file.id) is file

    def settle(self, file: StoreFile, result: StoreFile) -> None:
        """Write down what became of a file, unless it was changed or removed meanwhile.

        Without success, nothing of it stays in the index.
        """
        with self._lock:
            if not self.is_current(file):
                return
            self.edit(lambda record: record.with_files([result]))
            if result.status != "completed":
                self._remove(self.passages(file.id))

    def bring_in(self, file: StoreFile, passages: Sequence[Passage], embed: Embed) -> None:
        """Replace the passages of a file.

        Texts that the store holds are not embedded again; the others appear all at once. Nothing is
        locked while `embed` works, which returns None to stop.
        """
        with self._lock:
            if not self.is_current(file):
                return
            pending = self.index.reuse(passages).pending
        embedded = embed(pending)
        if embedded is None:
            return
        with self._lock:
            if not self.is_current(file):
                return
            for some, vectors in embedded.batches(max(1, len(embedded)) * 2**20):
                self.index.add_embedded(some, vectors)
            new = {one.id for one in passages}
            self.index.remove([one.id for one in self.passages(file.id) if one.id not in new])
            self.save()
            size = sum(len(one.text.encode("utf-8", "replace")) for one in passages)
            usage = size + 4 * self.index.dimension * len(passages)
            done = replace(file, status="completed", usage_bytes=usage, problem=None)
            self.settle(file, done)

    def save(self) -> None:
        """Write the index; raises StorageError."""
        with keeping("vector store"):
            self.index.save(self._folder / "index")

    def _remove(self, passages: Iterable[Passage]) -> None:
        if self.index.remove([one.id for one in passages]).passages:
            self.save()
