"""Files, vector stores and batches as OpenAI's objects."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from onegen_integrations.server.stores.records import (
    STATUSES,
    Batch,
    FileRecord,
    StoreFile,
    StoreRecord,
)


def file_object(record: FileRecord) -> dict[str, Any]:
    """A `file`; its SHA-256 besides."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size,
        "created_at": int(record.created),
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "expires_at": None,
        "sha256": record.sha256,
    }


def store_object(record: StoreRecord, files: Iterable[StoreFile]) -> dict[str, Any]:
    """A `vector_store` with the files that its caller sees."""
    seen = list(files)
    counts = file_counts(seen)
    return {
        "id": record.id,
        "object": "vector_store",
        "created_at": int(record.created),
        "name": record.name,
        "description": record.description,
        "metadata": dict(record.metadata),
        "status": "in_progress" if counts["in_progress"] else "completed",
        "file_counts": counts,
        "usage_bytes": sum(one.usage_bytes for one in seen),
        "last_active_at": int(max([record.created, *(one.created for one in seen)])),
        "expires_after": None,
        "expires_at": None,
    }


def store_file_object(store_id: str, file: StoreFile) -> dict[str, Any]:
    """A `vector_store.file`."""
    sizes = {"max_chunk_size_tokens": file.max_tokens, "chunk_overlap_tokens": 0}
    return {
        "id": file.id,
        "object": "vector_store.file",
        "created_at": int(file.created),
        "vector_store_id": store_id,
        "status": file.status,
        "last_error": asdict(file.problem) if file.problem else None,
        "usage_bytes": file.usage_bytes,
        "attributes": dict(file.attributes),
        "chunking_strategy": {"type": "static", "static": sizes}
        if file.max_tokens
        else {"type": "other"},
    }


def batch_object(record: StoreRecord, batch: Batch, files: Iterable[StoreFile]) -> dict[str, Any]:
    """A `vector_store.files_batch` with those of its files that are still in the store."""
    counts = file_counts(files)
    status = "in_progress" if counts["in_progress"] else "completed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": int(batch.created),
        "vector_store_id": record.id,
        "status": "cancelled" if batch.is_cancelled else status,
        "file_counts": counts,
    }


def file_counts(files: Iterable[StoreFile]) -> dict[str, int]:
    """How many files are in which state."""
    counts = Counter(one.status for one in files)
    return {**{status: counts[status] for status in STATUSES}, "total": counts.total()}


def deleted(item_id: str, kind: str) -> dict[str, Any]:
    """What a deletion answers."""
    return {"id": item_id, "object": kind, "deleted": True}
