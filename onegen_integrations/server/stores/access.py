"""What of a server's files and vector stores a request may use: what is not there, and what lies
outside of the scope of its key, are one and the same to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from weakref import WeakKeyDictionary

from fastapi import Depends, Request

from onegen_integrations.server.errors import NotFoundError, ParameterError
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.serving import Serving, caller_of, serving_of
from onegen_integrations.server.stores.library import Library
from onegen_integrations.server.stores.merging import MergedIndexes
from onegen_integrations.server.stores.names import INDEX_STORE
from onegen_integrations.server.stores.records import FileRecord, StoreFile, StoreRecord
from onegen_integrations.server.stores.scoping import sees
from onegen_integrations.server.stores.vector_store import VectorStore
from onegen_model import PassageIndex, place_of

# What of an index given at the start each scope sees: a list of stores would read all passages.
_index_files: WeakKeyDictionary[PassageIndex, dict[tuple[int, str], list[StoreFile]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True)
class Access:
    """A caller at a server."""

    serving: Serving
    caller: Caller

    @property
    def library(self) -> Library:
        """All files and stores; raises StorageError."""
        return self.serving.library

    @property
    def files(self) -> list[FileRecord]:
        """The files that the caller sees, the oldest first."""
        return [one for one in self.library.files.records if self._sees_file(one)]

    @property
    def stores(self) -> list[VectorStore]:
        """The vector stores that the caller sees, the oldest first."""
        return [one for one in self.library.stores if sees(self.caller, one.record.attributes)]

    def file(self, file_id: str) -> FileRecord:
        """Raises NotFoundError."""
        record = self.library.files.get(file_id)
        if record is None or not self._sees_file(record):
            raise _missing("file", file_id, "file_id")
        return record

    def _sees_file(self, record: FileRecord) -> bool:
        """Whether its scope, and its attributes in every vector store, are those of the caller:
        who must not find its passages must not read it as a whole."""
        if not self.caller.scope:
            return True
        found = (one.record.files.get(record.id) for one in self.library.stores)
        kept = [record.scope, *(one.attributes for one in found if one)]
        return all(sees(self.caller, one) for one in kept)

    def store(self, store_id: str) -> VectorStore:
        """A store that can be changed; raises NotFoundError, and ParameterError for `vs_index`."""
        if store_id == INDEX_STORE and self.serving.index is not None:
            raise ParameterError(
                f"{INDEX_STORE} is the index that the server was given; expected a store of its "
                "own, which requests change; grow the index with `onegen index`",
                param="vector_store_id",
                code="read_only",
            )
        store = self.library.get(store_id)
        if store is None or not sees(self.caller, store.record.attributes):
            raise _missing("vector store", store_id, "vector_store_id")
        return store

    def searched(
        self, store_ids: Sequence[str] | None, param: str
    ) -> PassageIndex | MergedIndexes | None:
        """See `Serving.retriever`; an error names `param`."""
        try:
            for one in store_ids or ():
                is_own = one == INDEX_STORE and self.serving.index is not None
                if not is_own and self.serving.settings.storage is not None:
                    self.store(one)
            return self.serving.retriever(store_ids)
        except (NotFoundError, ParameterError) as error:
            raise type(error)(str(error), param=param, code=error.code) from error

    def shown(self, store_id: str) -> tuple[StoreRecord, list[StoreFile]]:
        """A store, `vs_index` too, with the files that the caller sees; raises NotFoundError."""
        if store_id == INDEX_STORE and (index := self.index_record()):
            return index
        record = self.store(store_id).record
        return record, self.entries(record)

    def entries(self, record: StoreRecord) -> list[StoreFile]:
        """The files of a store that the caller sees, the oldest first."""
        return [one for one in record.files.values() if sees(self.caller, one.attributes)]

    def entry(self, store: VectorStore, file_id: str) -> StoreFile:
        """A file of a store; raises NotFoundError."""
        file = store.record.files.get(file_id)
        if file is None or not sees(self.caller, file.attributes):
            raise _missing(f"file in {store.id}", file_id, "file_id")
        return file

    def index_record(self) -> tuple[StoreRecord, list[StoreFile]] | None:
        """The index given at the start as a store, with the files that the caller sees."""
        index = self.serving.index
        if index is None:
            return None
        known = _index_files.setdefault(index, {})
        key = (len(index), repr(self.caller.scope))
        if key not in known:
            known[key] = self._sources(index)
        record = StoreRecord(
            INDEX_STORE, "The index of the server", self.serving.started, index.fingerprint
        )
        return record, known[key]

    def _sources(self, index: PassageIndex) -> list[StoreFile]:
        names: dict[str, None] = {}
        for passage in index.passages:
            if sees(self.caller, passage.metadata):
                place = place_of(passage)
                names[place.source or place.document if place else passage.id] = None
        return [StoreFile(one, self.serving.started, status="completed") for one in names]


def access_of(request: Request) -> Access:
    """A dependency of routes."""
    return Access(serving_of(request), caller_of(request))


Allowed = Annotated[Access, Depends(access_of)]


def _missing(what: str, name: str, param: str) -> NotFoundError:
    return NotFoundError(
        f"There is no {what} {name[:80]!r}; expected the id of one; list them first", param=param
    )
