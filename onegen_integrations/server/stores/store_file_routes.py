"""`/v1/vector_stores/{id}/files`: the files of a store."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Response

from onegen_integrations.server.stores.access import Allowed
from onegen_integrations.server.stores.adding import new_files
from onegen_integrations.server.stores.objects import deleted, store_file_object
from onegen_integrations.server.stores.paging import Paged
from onegen_integrations.server.stores.records import Status
from onegen_integrations.server.stores.requests import AddFile, UpdateFile, add_each
from onegen_model import matches_filter

router = APIRouter(prefix="/v1/vector_stores/{store_id}/files")

# In milliseconds: when OpenAI's clients ask again.
POLL = {"openai-poll-after-ms": "250"}


@router.post("")
def add(store_id: str, body: AddFile, access: Allowed) -> dict[str, Any]:
    """Add a file, which is read in the background."""
    store = access.store(store_id)
    files = new_files(access, [body])
    access.library.add_files(store, files)
    return store_file_object(store_id, store.record.files.get(body.file_id, files[0]))


@router.get("")
def list_files(
    store_id: str, access: Allowed, page: Paged, filter: Status | None = None
) -> dict[str, Any]:
    _, entries = access.shown(store_id)
    some = [one for one in entries if filter in (None, one.status)]
    return page.of(some, lambda one: one.id, lambda one: store_file_object(store_id, one))


@router.get("/{file_id}")
def show(store_id: str, file_id: str, access: Allowed, response: Response) -> dict[str, Any]:
    response.headers.update(POLL)
    return store_file_object(store_id, access.entry(access.store(store_id), file_id))


@router.post("/{file_id}")
def update(store_id: str, file_id: str, body: UpdateFile, access: Allowed) -> dict[str, Any]:
    """Replace the attributes; the passages follow in the background, and are not embedded again."""
    store = access.store(store_id)
    file = access.entry(store, file_id)
    (new,) = new_files(access, add_each([file_id], body.attributes))
    changed = replace(new, created=file.created, max_tokens=file.max_tokens)
    access.library.add_files(store, [changed])
    return store_file_object(store_id, store.record.files.get(file_id, changed))


@router.get("/{file_id}/content")
def content(store_id: str, file_id: str, access: Allowed) -> dict[str, Any]:
    """The texts of the passages, in order."""
    store = access.store(store_id)
    access.entry(store, file_id)
    passages = [
        one for one in store.passages(file_id) if matches_filter(one.metadata, access.caller.scope)
    ]
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": one.text} for one in passages],
        "has_more": False,
        "next_page": None,
    }


@router.delete("/{file_id}")
def remove(store_id: str, file_id: str, access: Allowed) -> dict[str, Any]:
    """Remove a file and its passages from the store; the file itself stays."""
    store = access.store(store_id)
    store.forget(access.entry(store, file_id).id)
    return deleted(file_id, "vector_store.file.deleted")
