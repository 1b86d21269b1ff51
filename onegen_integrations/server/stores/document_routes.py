"""`/v1/documents/{id}`: the passage that a citation names."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from onegen_integrations.server.documents import document_url
from onegen_integrations.server.errors import NotFoundError
from onegen_integrations.server.serving import base_url
from onegen_integrations.server.stores.access import Access, Allowed
from onegen_integrations.server.stores.names import INDEX_STORE, cited_file, owner_of
from onegen_model import Passage, matches_filter, place_of

router = APIRouter()


# An id may have slashes: the address has them quoted, and the server reads them unquoted.
@router.get("/v1/documents/{passage_id:path}")
def show(passage_id: str, access: Allowed, request: Request) -> dict[str, Any]:
    passage = _find(access, passage_id)
    if passage is None:
        raise NotFoundError(
            f"There is no passage {passage_id[:200]!r}; expected the id of one; it may have been "
            "removed since it was cited",
            param="id",
        )
    base = base_url(request)
    place, file, owner = place_of(passage), cited_file(passage), owner_of(passage_id)
    around = {}
    for name, step in (("previous", -1), ("next", 1)):
        found = _find(access, place.id_of(place.chunk + step)) if place else None
        around[name] = document_url(base, found.id) if found else None
    return {
        "id": passage.id,
        "object": "document",
        "title": passage.title,
        "text": passage.text,
        "metadata": {name: one for name, one in passage.metadata.items() if name != "onegen"},
        "place": asdict(place) if place else None,
        "vector_store_id": owner[0] if owner else INDEX_STORE,
        "file_id": file.id,
        "filename": file.filename,
        "url": document_url(base, passage.id),
        **around,
    }


def _find(access: Access, passage_id: str) -> Passage | None:
    """A passage in the scope of the caller."""
    passage = access.serving.passage(passage_id)
    seen = passage and matches_filter(passage.metadata, access.caller.scope)
    return passage if seen else None
