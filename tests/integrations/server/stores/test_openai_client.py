"""OpenAI's own client, against a real server."""

import io

import pytest
from openai import BadRequestError, NotFoundError, OpenAI


def test_openai_uploads_searches_and_removes(url: str) -> None:
    with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        stores = client.vector_stores
        content = io.BytesIO(b"Alba was founded by Ann.")
        alba = client.files.create(file=("alba.txt", content), purpose="assistants")
        store = stores.create(name="Towns", file_ids=[alba.id], metadata={"team": "a"})
        brig = stores.files.upload_and_poll(
            vector_store_id=store.id, file=("brig.txt", b"Brig was built by Ben.")
        )
        assert (brig.status, brig.last_error) == ("completed", None)
        stores.files.update(brig.id, vector_store_id=store.id, attributes={"year": 1950})
        assert stores.files.poll(brig.id, vector_store_id=store.id).attributes == {"year": 1950}
        batch = stores.file_batches.upload_and_poll(
            store.id, files=[("c.md", b"# C\n\nCara is a river."), ("d.zip", b"PK")]
        )
        assert (batch.file_counts.completed, batch.file_counts.failed) == (1, 1)
        files = list(stores.file_batches.list_files(batch.id, vector_store_id=store.id))
        assert {one.last_error.code if one.last_error else None for one in files} == {
            None,
            "unsupported_file",
        }
        filters = {"type": "eq", "key": "year", "value": 1950}
        (hit,) = stores.search(store.id, query="Who?", filters=filters)  # type: ignore[arg-type]
        assert (hit.file_id, hit.filename) == (brig.id, "brig.txt")
        assert hit.content[0].text == "Brig was built by Ben."
        assert client.files.content(alba.id).read() == b"Alba was founded by Ann."
        pages = [one.text for one in stores.files.content(alba.id, vector_store_id=store.id)]
        assert pages == ["Alba was founded by Ann."]
        assert {one.id for one in stores.list(limit=1)} == {store.id, "vs_index"}
        assert len(list(stores.files.list(store.id, limit=1))) == 4
        assert stores.retrieve(store.id).file_counts.total == 4
        assert stores.files.delete(alba.id, vector_store_id=store.id).deleted
        assert client.files.delete(alba.id).deleted
        assert stores.delete(store.id).deleted
        with pytest.raises(NotFoundError):
            stores.retrieve(store.id)
        with pytest.raises(BadRequestError, match="purpose"):
            client.files.create(file=("a.txt", b"a"), purpose="batch")
