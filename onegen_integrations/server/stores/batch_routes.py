"""`/v1/vector_stores/{id}/file_batches`: many files by one request."""

from typing import Any

from fastapi import APIRouter, Response

from onegen_integrations.server.errors import NotFoundError
from onegen_integrations.server.stores.access import Access, Allowed
from onegen_integrations.server.stores.adding import new_files
from onegen_integrations.server.stores.objects import batch_object, store_file_object
from onegen_integrations.server.stores.paging import Paged
from onegen_integrations.server.stores.records import Batch, Status, StoreFile
from onegen_integrations.server.stores.requests import AddBatch
from onegen_integrations.server.stores.store_file_routes import POLL
from onegen_integrations.server.stores.vector_store import VectorStore

router = APIRouter(prefix="/v1/vector_stores/{store_id}/file_batches")


@router.post("")
def create(store_id: str, body: AddBatch, access: Allowed) -> dict[str, Any]:
    store = access.store(store_id)
    batch = access.library.add_files(store, new_files(access, body.each()), in_batch=True)
    return _shown(access, store, batch)


@router.get("/{batch_id}")
def show(store_id: str, batch_id: str, access: Allowed, response: Response) -> dict[str, Any]:
    response.headers.update(POLL)
    store = access.store(store_id)
    return _shown(access, store, _batch(access, store, batch_id))


@router.post("/{batch_id}/cancel")
def cancel(store_id: str, batch_id: str, access: Allowed) -> dict[str, Any]:
    """Leave out the files that are not finished."""
    store = access.store(store_id)
    return _shown(access, store, store.cancel(_batch(access, store, batch_id)))


@router.get("/{batch_id}/files")
def list_files(
    store_id: str, batch_id: str, access: Allowed, page: Paged, filter: Status | None = None
) -> dict[str, Any]:
    store = access.store(store_id)
    files = _files(access, store, _batch(access, store, batch_id))
    some = [one for one in files if filter in (None, one.status)]
    return page.of(some, lambda one: one.id, lambda one: store_file_object(store_id, one))


def _batch(access: Access, store: VectorStore, batch_id: str) -> Batch:
    """A batch that has files which the caller sees; raises NotFoundError."""
    batch = store.record.batches.get(batch_id)
    if batch is None or (access.caller.scope and not _files(access, store, batch)):
        raise NotFoundError(
            f"There is no batch {batch_id[:80]!r} in {store.id}; expected the id of one; see the "
            "answer to its creation",
            param="batch_id",
        )
    return batch


def _files(access: Access, store: VectorStore, batch: Batch) -> list[StoreFile]:
    wanted = set(batch.file_ids)
    return [one for one in access.entries(store.record) if one.id in wanted]


def _shown(access: Access, store: VectorStore, batch: Batch) -> dict[str, Any]:
    return batch_object(store.record, batch, _files(access, store, batch))
