"""`/v1/vector_stores`: files become passages in the background, and are found."""

import io
import threading
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_model import OneGenModel, Passage
from tests.support.uploads import found, new_store, settled, upload


@pytest.fixture
def embedded(model: OneGenModel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were embedded."""
    texts: list[str] = []
    embed = OneGenModel.embed_passages

    def counted(self: OneGenModel, passages: Sequence[Passage], **options: Any) -> Any:
        texts.extend(one.text for one in passages)
        return embed(self, passages, **options)

    monkeypatch.setattr(OneGenModel, "embed_passages", counted)
    return texts


def test_a_file_is_found_by_search_until_it_is_removed(client: TestClient) -> None:
    alba = upload(client, "alba notes.md", "# Alba\n\nAlba was founded by Ann.")
    brig = upload(client, "brig.txt", "Brig was built by Ben.")
    store = new_store(client, name="Towns", file_ids=[alba], metadata={"team": "a"})
    attributes = {"year": 1901, "kind": "town", "old": True}
    added = client.post(
        f"/v1/vector_stores/{store}/files", json={"file_id": brig, "attributes": attributes}
    ).json()
    assert (added["object"], added["id"]) == ("vector_store.file", brig)
    whole = settled(client, store)
    assert (whole["name"], whole["metadata"]) == ("Towns", {"team": "a"})
    assert whole["file_counts"]["completed"] == whole["file_counts"]["total"] == 2
    assert whole["usage_bytes"] > 0
    hits = {hit["file_id"]: hit for hit in found(client, store)}
    assert hits[brig]["attributes"] == attributes
    assert hits[alba]["filename"] == "alba notes.md"
    assert hits[alba]["passage_id"] == f"{store}/{alba}#0"
    assert all(0 <= hit["score"] <= 1 for hit in hits.values())
    newer = {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 1900}]}
    assert [hit["file_id"] for hit in found(client, store, filters=newer)] == [brig]
    assert len(found(client, store, query=["Who?", "Brig"], max_num_results=1)) == 1
    assert not found(client, store, ranking_options={"score_threshold": 1.5})
    content = client.get(f"/v1/vector_stores/{store}/files/{brig}/content").json()
    assert [one["text"] for one in content["data"]] == ["Brig was built by Ben."]
    client.delete(f"/v1/vector_stores/{store}/files/{brig}")
    assert [hit["file_id"] for hit in found(client, store)] == [alba]
    client.delete(f"/v1/files/{alba}")
    assert found(client, store) == []
    assert client.delete(f"/v1/vector_stores/{store}").json()["deleted"] is True
    assert client.get(f"/v1/vector_stores/{store}").status_code == 404
    assert client.get(f"/v1/files/{brig}").status_code == 200


def test_a_title_is_the_name_of_the_user(client: TestClient) -> None:
    plain, code = upload(client, "Alba.txt", "Ann."), upload(client, "run.py", "print(1)")
    store = new_store(client, file_ids=[plain, code])
    settled(client, store)
    titles = {
        client.get(f"/v1/documents/{store}%2F{one}%230").json()["title"] for one in (plain, code)
    }
    assert titles == {"Alba", "run.py"}


def test_known_text_is_not_embedded_again(client: TestClient, embedded: list[str]) -> None:
    store = new_store(client, file_ids=[upload(client, "a.txt", "Alba was founded by Ann.")])
    settled(client, store)
    assert embedded == ["Alba was founded by Ann."]
    again = upload(client, "a.txt", "Alba was founded by Ann.")
    client.post(f"/v1/vector_stores/{store}/files", json={"file_id": again})
    settled(client, store)
    changed = client.post(
        f"/v1/vector_stores/{store}/files/{again}", json={"attributes": {"year": 1901}}
    ).json()
    assert changed["attributes"] == {"year": 1901}
    settled(client, store)
    by_year = {"type": "eq", "key": "year", "value": 1901}
    assert [hit["file_id"] for hit in found(client, store, filters=by_year)] == [again]
    assert len(found(client, store)) == 2
    assert embedded == ["Alba was founded by Ann."]


def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.txt", "Alba")
    return content.getvalue()


BAD = {
    "fake.pdf": b"This is no PDF.",
    "archive.docx": packed(),
    "archive.zip": packed(),
    "binary": b"\x00\x01\x02",
    "empty.txt": b"",
    "blank.md": b" \n\n",
    "bad.jsonl": b'{"text": 1}',
    "twice.jsonl": b'{"id": "a", "text": "One."}\n{"id": "a", "text": "Two."}',
}


def test_a_bad_file_fails_alone_with_one_reason(client: TestClient) -> None:
    bad = {name: upload(client, name, content) for name, content in BAD.items()}
    good = upload(client, "good.txt", "Alba was founded by Ann.")
    store = new_store(client, file_ids=[*bad.values(), good])
    counts = settled(client, store)["file_counts"]
    assert (counts["failed"], counts["completed"]) == (len(BAD), 1)
    for name, file_id in bad.items():
        file = client.get(f"/v1/vector_stores/{store}/files/{file_id}").json()
        assert file["status"] == "failed", name
        unknown = name in ("archive.zip", "binary")
        assert file["last_error"]["code"] == ("unsupported_file" if unknown else "invalid_file")
        assert file["last_error"]["message"].startswith(f"{name} cannot be read: ")
        assert "content." not in file["last_error"]["message"]
    assert [hit["file_id"] for hit in found(client, store)] == [good]
    failed = client.get(f"/v1/vector_stores/{store}/files", params={"filter": "failed"}).json()
    assert len(failed["data"]) == len(BAD)


def test_records_have_ids_of_their_own(client: TestClient) -> None:
    rows = b'{"id": "x/y", "text": "Alba."}\n{"text": "Brig.", "tags": ["old"]}'
    file = upload(client, "rows.jsonl", rows)
    store = new_store(client, file_ids=[file])
    settled(client, store)
    ids = {hit["passage_id"]: hit["file_id"] for hit in found(client, store)}
    assert ids == {f"{store}/{file}/x/y#0": file, f"{store}/{file}:2#0": file}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "last_active_at", "days": 1}}, "expires_after"),
        ({"file_ids": ["file-x"]}, "file_ids"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        (
            {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 10**6}}},
            "chunking_strategy.static.max_chunk_size_tokens",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 20, "chunk_overlap_tokens": 5},
                }
            },
            "chunking_strategy.static.chunk_overlap_tokens",
        ),
    ],
)
def test_a_store_that_cannot_be_is_not_made(
    client: TestClient, body: dict[str, Any], param: str
) -> None:
    if "chunking_strategy" in body:
        body["file_ids"] = [upload(client, "a.txt", "Alba")]
    reply = client.post("/v1/vector_stores", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert [one["id"] for one in client.get("/v1/vector_stores").json()["data"]] == ["vs_index"]


def test_files_are_split_as_wished(client: TestClient) -> None:
    file = upload(client, "a.txt", "Alba was founded by Ann. " * 20)
    wish = {"type": "static", "static": {"max_chunk_size_tokens": 40, "chunk_overlap_tokens": 0}}
    store = new_store(client, file_ids=[file], chunking_strategy=wish)
    settled(client, store)
    path = f"/v1/vector_stores/{store}/files/{file}"
    assert client.get(path).json()["chunking_strategy"] == wish
    assert len(client.get(f"{path}/content").json()["data"]) > 1


def test_stores_change_and_are_listed(client: TestClient) -> None:
    ids = [new_store(client, name=str(n)) for n in range(3)]
    changed = client.post(f"/v1/vector_stores/{ids[0]}", json={"metadata": {"a": "b"}}).json()
    assert (changed["name"], changed["metadata"]) == ("0", {"a": "b"})
    first = client.get("/v1/vector_stores", params={"limit": 2}).json()
    rest = client.get("/v1/vector_stores", params={"after": first["last_id"]}).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == [*ids[::-1], "vs_index"]
    before = client.get("/v1/vector_stores", params={"limit": 1, "before": ids[0]}).json()
    assert ([one["id"] for one in before["data"]], before["has_more"]) == ([ids[1]], True)


def test_the_index_of_the_start_is_a_store_that_stays(client: TestClient) -> None:
    store = client.get("/v1/vector_stores/vs_index").json()
    assert store["file_counts"]["completed"] == 2
    assert {hit["file_id"] for hit in found(client, "vs_index")} == {"alba", "brig"}
    listed = client.get("/v1/vector_stores/vs_index/files").json()["data"]
    assert [one["id"] for one in listed] == ["brig", "alba"]
    for method, path in (("DELETE", ""), ("POST", "")):
        reply = client.request(method, f"/v1/vector_stores/vs_index{path}", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "read_only")


def test_an_attribute_that_is_no_plain_value_is_named(client: TestClient) -> None:
    store, file = new_store(client), upload(client, "a.txt", "Alba")
    body = {"file_id": file, "attributes": {"year": [1901]}}
    error = client.post(f"/v1/vector_stores/{store}/files", json=body).json()["error"]
    assert error["param"] == "attributes.year"
    assert "a text, a number or a truth value" in error["message"]


def test_a_query_that_cannot_be_is_named(client: TestClient) -> None:
    reply = client.post("/v1/vector_stores/vs_index/search", json={"query": "word " * 9000})
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("query", "context_length_exceeded")
    for query in ("", [], None):
        reply = client.post("/v1/vector_stores/vs_index/search", json={"query": query})
        assert reply.status_code == 400
        assert reply.json()["error"]["param"].startswith("query")


def test_a_batch_can_be_cancelled_and_removed_files_never_appear(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    embed = OneGenModel.embed_passages

    def slow(self: OneGenModel, passages: Sequence[Passage], **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return embed(self, passages, **options)

    monkeypatch.setattr(OneGenModel, "embed_passages", slow)
    store = new_store(client)
    ids = [upload(client, f"{n}.txt", f"Number {n}.") for n in range(3)]
    path = f"/v1/vector_stores/{store}/file_batches"
    batch = client.post(path, json={"file_ids": ids}).json()
    assert (batch["object"], batch["status"]) == ("vector_store.files_batch", "in_progress")
    assert begun.wait(30)
    client.delete(f"/v1/vector_stores/{store}/files/{ids[0]}")
    cancelled = client.post(f"{path}/{batch['id']}/cancel").json()
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == ("cancelled", 2)
    single = [{"file_id": ids[2], "attributes": {"n": 2}}]
    go_on.set()
    second = client.post(path, json={"files": single}).json()
    settled(client, store)
    assert client.get(f"{path}/{second['id']}").json()["file_counts"]["completed"] == 1
    assert [one["id"] for one in client.get(f"{path}/{second['id']}/files").json()["data"]] == [
        ids[2]
    ]
    assert [hit["file_id"] for hit in found(client, store)] == [ids[2]]
    for body in ({}, {"file_ids": ids, "files": single}, {"file_ids": []}):
        assert client.post(path, json=body).json()["error"]["param"] == "file_ids"
