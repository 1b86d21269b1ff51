"""A file on its way through a server: uploaded, added to a store, found, and deleted."""

import asyncio
import time
from random import Random
from typing import Any

import httpx

from benchmarks.serving.asking import Caller, Outcome

_POLL_SECONDS = 0.25


class _StepError(Exception):
    """An answer that is not the expected one."""


async def file(caller: Caller, random: Random) -> Outcome:
    """Fails unless the search in a new store finds the file, and all of it can be deleted."""
    begun, name = time.perf_counter(), f"{random.getrandbits(48):012x}"
    text = " ".join(random.sample(list(caller.questions), min(8, len(caller.questions))))
    fault = ""
    try:
        await _go_through(caller, f"{name}.md", f"# {name}\n\n{text}\n")
    except _StepError as error:
        fault = str(error)
    return Outcome("file", fault, 200, time.perf_counter() - begun)


async def _go_through(caller: Caller, name: str, text: str) -> None:
    client = caller.quick
    uploaded = _told(await client.post("/v1/files", files={"file": (name, text.encode())}))
    path = f"/v1/files/{uploaded['id']}"
    store = _told(await client.post("/v1/vector_stores", json={"file_ids": [uploaded["id"]]}))
    store_path = f"/v1/vector_stores/{store['id']}"
    while store["status"] != "completed":
        await asyncio.sleep(_POLL_SECONDS)
        store = _told(await client.get(store_path))
    query = {"query": text[:60]}
    found = _told(await client.post(f"{store_path}/search", json=query))["data"]
    if {one["file_id"] for one in found} != {uploaded["id"]}:
        raise _StepError(f"the search found {found}, and the store is {store}"[:300])
    listed = (await client.get(path + "/content")).content
    if listed != text.encode():
        raise _StepError(f"the content is {listed!r}"[:300])
    _told(await client.delete(store_path))
    _told(await client.delete(path))
    if (await client.get(path)).status_code != 404:
        raise _StepError("a deleted file is still there")


def _told(reply: httpx.Response) -> Any:
    if reply.status_code != 200:
        request = reply.request
        raise _StepError(f"{request.method} {request.url.path}: {reply.status_code} {reply.text}")
    return reply.json()
