"""Uploads to the vector stores of a server."""

import time
from typing import Any

from fastapi.testclient import TestClient

_DEADLINE = 60


def upload(client: TestClient, name: str, content: bytes | str, **options: Any) -> str:
    """The id of a new file."""
    data = content.encode() if isinstance(content, str) else content
    reply = client.post("/v1/files", files={"file": (name, data)}, **options)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def new_store(client: TestClient, **body: Any) -> str:
    """The id of a new vector store."""
    reply = client.post("/v1/vector_stores", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def settled(client: TestClient, store_id: str) -> dict[str, Any]:
    """The store once nothing is in progress."""
    until = time.monotonic() + _DEADLINE
    while True:
        store: dict[str, Any] = client.get(f"/v1/vector_stores/{store_id}").json()
        if store["status"] == "completed":
            return store
        if time.monotonic() > until:
            raise TimeoutError(str(store))
        time.sleep(0.02)


def found(client: TestClient, store_id: str, **body: Any) -> list[dict[str, Any]]:
    """The results of a search."""
    body = {"query": "Who?", **body}
    reply = client.post(f"/v1/vector_stores/{store_id}/search", json=body)
    assert reply.status_code == 200, reply.text
    results: list[dict[str, Any]] = reply.json()["data"]
    return results
