"""`/v1/vector_stores`: stores, and the search in one."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from onegen_integrations.server.keys import Filter
from onegen_integrations.server.stores.access import Allowed
from onegen_integrations.server.stores.adding import new_files
from onegen_integrations.server.stores.attribute_filters import to_filter
from onegen_integrations.server.stores.names import INDEX_STORE, cited_file
from onegen_integrations.server.stores.objects import deleted, store_object
from onegen_integrations.server.stores.paging import Paged
from onegen_integrations.server.stores.records import StoreFile, StoreRecord
from onegen_integrations.server.stores.requests import CreateStore, Search, UpdateStore, add_each
from onegen_integrations.server.stores.scoping import fixed_by, marked, require_seen
from onegen_integrations.server.vectors.embedding import EmbeddingCall, Vectors
from onegen_integrations.server.vectors.turns import Turns, embedding_turns
from onegen_model import PassageIndex, ScoredPassage

router = APIRouter(prefix="/v1/vector_stores")

Seen = tuple[StoreRecord, list[StoreFile]]


@router.post("")
def create(body: CreateStore, access: Allowed) -> dict[str, Any]:
    metadata = body.metadata or {}
    marked(access.caller, metadata, "metadata")
    files = new_files(access, add_each(body.file_ids, chunking=body.chunking_strategy))
    store = access.library.create(
        body.name or "", body.description or "", metadata, fixed_by(access.caller.scope)
    )
    if files:
        access.library.add_files(store, files)
    return store_object(store.record, access.entries(store.record))


@router.get("")
def list_stores(access: Allowed, page: Paged) -> dict[str, Any]:
    index = access.index_record()
    seen: list[Seen] = [index] if index else []
    if access.serving.settings.storage is not None or not seen:
        seen += [(one.record, access.entries(one.record)) for one in access.stores]
    return page.of(seen, lambda one: one[0].id, lambda one: store_object(*one))


@router.get("/{store_id}")
def show_store(store_id: str, access: Allowed) -> dict[str, Any]:
    return store_object(*access.shown(store_id))


@router.post("/{store_id}")
def update(store_id: str, body: UpdateStore, access: Allowed) -> dict[str, Any]:
    store = access.store(store_id)

    def change(record: StoreRecord) -> StoreRecord:
        given = body.model_fields_set
        metadata = (body.metadata or {}) if "metadata" in given else record.metadata
        name = (body.name or "") if "name" in given else record.name
        changed = replace(record, name=name, metadata=metadata)
        require_seen(access.caller, changed.attributes, "metadata")
        return changed

    record = store.edit(change)
    return store_object(record, access.entries(record))


@router.delete("/{store_id}")
def delete(store_id: str, access: Allowed) -> dict[str, Any]:
    """Remove a store; its files stay, and can be added to another."""
    access.library.delete(access.store(store_id))
    return deleted(store_id, "vector_store.deleted")


def searched_index(store_id: str, access: Allowed) -> PassageIndex:
    """A dependency: the index of a store that the caller sees."""
    if store_id == INDEX_STORE and access.serving.index is not None:
        return access.serving.index
    return access.store(store_id).index


@router.post("/{store_id}/search")
async def search(
    body: Search,
    request: Request,
    access: Allowed,
    index: Annotated[PassageIndex, Depends(searched_index)],
    turns: Annotated[Turns, Depends(embedding_turns)],
) -> dict[str, Any]:
    """The passages that are nearest to any of the queries, best first."""
    chosen = None if body.filters is None else to_filter(body.filters)
    filter = access.caller.narrowed(chosen)
    with turns.admitted():
        call = EmbeddingCall(access.serving.model(None), turns, request)
        vectors = await call.queries(body.query, "query")
        return await asyncio.to_thread(_found, body, index, vectors, filter)


def _found(
    body: Search, index: PassageIndex, vectors: Vectors, filter: Filter | None
) -> dict[str, Any]:
    answers = index.search(vectors, body.max_num_results, filter=filter)
    best: dict[str, ScoredPassage] = {}
    for hit in sorted((hit for found in answers for hit in found), key=lambda hit: -hit.score):
        best.setdefault(hit.passage.id, hit)
    least = body.ranking_options.score_threshold if body.ranking_options else None
    hits = [hit for hit in best.values() if least is None or shown_score(hit) >= least]
    return {
        "object": "vector_store.search_results.page",
        "search_query": body.query,
        "data": list(map(_result, hits[: body.max_num_results])),
        "has_more": False,
        "next_page": None,
    }


def shown_score(hit: ScoredPassage) -> float:
    """From 0 to 1, as OpenAI's scores: a cosine below 0 is 0."""
    return min(1.0, max(0.0, hit.score))


def _result(hit: ScoredPassage) -> dict[str, Any]:
    file = cited_file(hit.passage)
    return {
        "file_id": file.id,
        "filename": file.filename,
        "score": shown_score(hit),
        "attributes": file.attributes,
        "content": [{"type": "text", "text": hit.passage.text}],
        "passage_id": hit.passage.id,
    }
