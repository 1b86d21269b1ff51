"""The thread that brings files into vector stores, one after another.

Reading and embedding share the machine with the answers: one file at a time, few passages a step.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace

from onegen_integrations.server.stores.folder import FileFolder
from onegen_integrations.server.stores.reading import PassageSource, UnusableFileError
from onegen_integrations.server.stores.records import Problem, StoreFile
from onegen_integrations.server.stores.vector_store import VectorStore
from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.errors import InvalidInputError, OneGenError

logger = logging.getLogger(__name__)

_STEP = 8  # passages
_PATIENCE = 10.0  # seconds


class Ingestion:
    """Work that is waiting, and the thread that does it until `close`."""

    def __init__(self, model: OneGenModel, files: FileFolder) -> None:
        self._model, self._files = model, files
        self._waiting: queue.SimpleQueue[tuple[VectorStore, str] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onegen-stores", daemon=True)
        self._thread.start()

    def take_up(self, store: VectorStore, file_ids: Sequence[str]) -> None:
        """Bring files of a store into its index, in the background."""
        for file_id in file_ids:
            self._waiting.put((store, file_id))

    def close(self) -> None:
        """Stop after the step at hand; the next server takes up what is left.

        A file that is still being converted is not waited for, and nothing of it is written.
        """
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None and not self._stopping.is_set():
            store, file_id = work
            file = store.record.files.get(file_id)
            if file is not None and file.status == "in_progress":
                self._bring_in(store, file)

    def _bring_in(self, store: VectorStore, file: StoreFile) -> None:
        try:
            problem = self._try(store, file)
        except UnusableFileError as error:
            problem = error.problem
        except InvalidInputError as error:
            problem = Problem("invalid_file", str(error))
        except Exception as error:
            # The names alone: what the message holds may be of the file.
            logger.error("%s in %s failed: %s", file.id, store.id, type(error).__name__)
            message = "The server failed; expected no error; see its log, and add the file again"
            problem = Problem("server_error", message)
        if problem is not None and not self._stopping.is_set():
            self._settle(store, file, problem)

    def _try(self, store: VectorStore, file: StoreFile) -> Problem | None:
        record = self._files.get(file.id)
        if record is None:
            return Problem("invalid_file", "The file was deleted; expected one; upload it again")
        source = PassageSource(store.id, file, record, self._files.path(record))

        def embed(pending: Sequence[Passage]) -> PassageIndex | None:
            return self._embed(pending, store, file)

        store.bring_in(file, source.passages(self._model), embed)
        return None

    def _embed(
        self, pending: Sequence[Passage], store: VectorStore, file: StoreFile
    ) -> PassageIndex | None:
        """An index of the passages alone; None if the work is to stop."""
        index = PassageIndex(self._model)
        for start in range(0, len(pending), _STEP):
            if self._stopping.is_set() or not store.is_current(file):
                return None
            index.add(pending[start : start + _STEP])
        return None if self._stopping.is_set() else index

    def _settle(self, store: VectorStore, file: StoreFile, problem: Problem) -> None:
        try:
            store.settle(file, replace(file, status="failed", problem=problem))
        except (OneGenError, OSError) as error:  # A full disk: the next start tries again.
            logger.error("%s in %s is not settled: %s", file.id, store.id, type(error).__name__)
