"""Callers with a scope: what they make, see and change."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import ApiKey, Serving, create_app
from onegen_integrations.server.keys import Caller
from onegen_integrations.server.stores.scoping import fixed_by
from tests.support.uploads import found, new_store, settled, upload


def use(client: TestClient, key: str) -> None:
    client.headers["Authorization"] = f"Bearer {key}"


def test_a_scope_marks_what_it_makes_and_hides_the_rest(keyed: TestClient) -> None:
    use(keyed, "secret-all")
    secret = upload(keyed, "secret.txt", "Only for some.")
    hidden = new_store(keyed, file_ids=[secret])
    shared = new_store(keyed, file_ids=[secret], metadata={"tenant": "acme"})
    settled(keyed, shared)

    use(keyed, "secret-acme")
    own = upload(keyed, "own.jsonl", '{"text": "Alba.", "tenant": "zeta"}')
    assert [one["id"] for one in keyed.get("/v1/files").json()["data"]] == [own]
    listed = keyed.get("/v1/vector_stores").json()["data"]
    assert [one["id"] for one in listed] == [shared, "vs_index"]
    assert [one["file_counts"]["total"] for one in listed] == [0, 1]
    assert found(keyed, shared) == []
    for method, path in (
        ("DELETE", f"/v1/files/{secret}"),
        ("GET", f"/v1/files/{secret}/content"),
        ("DELETE", f"/v1/vector_stores/{hidden}"),
        ("DELETE", f"/v1/vector_stores/{shared}/files/{secret}"),
        ("GET", f"/v1/vector_stores/{shared}/files/{secret}/content"),
        ("GET", f"/v1/documents/{shared}%2F{secret}%230"),
    ):
        assert keyed.request(method, path).status_code == 404, path
    reply = keyed.post(f"/v1/vector_stores/{shared}/files", json={"file_id": secret})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file_ids")
    wrong = {"file_id": own, "attributes": {"tenant": "zeta"}}
    reply = keyed.post(f"/v1/vector_stores/{shared}/files", json=wrong)
    assert reply.json()["error"]["code"] == "outside_scope"

    added = keyed.post(f"/v1/vector_stores/{shared}/files", json={"file_id": own}).json()
    assert added["attributes"] == {"tenant": "acme"}
    mine = new_store(keyed, name="Mine")
    settled(keyed, shared)
    assert [hit["file_id"] for hit in found(keyed, shared)] == [own]
    reply = keyed.post(f"/v1/vector_stores/{shared}", json={"metadata": {}})
    assert reply.json()["error"]["code"] == "outside_scope"

    use(keyed, "secret-all")
    assert len(found(keyed, shared)) == 2
    assert keyed.get(f"/v1/vector_stores/{mine}").json()["metadata"] == {}
    assert keyed.get(f"/v1/documents/{shared}%2F{secret}%230").status_code == 200


def test_a_scope_that_fixes_nothing_is_one_for_reading(serve: Callable[..., Serving]) -> None:
    key = ApiKey("secret", "reader", {"year": {"$gte": 1900}})
    with TestClient(create_app(serve(keys=(key,)))) as client:
        use(client, "secret")
        reply = client.post("/v1/files", files={"file": ("a.txt", b"a")})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "outside_scope")
        assert len(found(client, "vs_index")) == 2


def test_a_file_whose_passages_are_hidden_is_hidden(serve: Callable[..., Serving]) -> None:
    keys = (ApiKey("secret-all"), ApiKey("secret-open", "open", {"$not": {"kind": "internal"}}))
    with TestClient(create_app(serve(keys=keys))) as client:
        use(client, "secret-all")
        hidden, open_ = upload(client, "a.txt", "Hidden."), upload(client, "b.txt", "Open.")
        store = new_store(client, file_ids=[open_])
        body = {"file_id": hidden, "attributes": {"kind": "internal"}}
        assert client.post(f"/v1/vector_stores/{store}/files", json=body).status_code == 200
        use(client, "secret-open")
        assert [one["id"] for one in client.get("/v1/files").json()["data"]] == [open_]
        assert client.get(f"/v1/files/{open_}/content").text == "Open."
        assert client.get(f"/v1/files/{hidden}/content").status_code == 404
        reply = client.post("/v1/vector_stores", json={"file_ids": [hidden]})
        assert reply.status_code == 400


@pytest.mark.parametrize(
    ("scope", "fixed"),
    [
        (None, {}),
        ({"tenant": "acme", "year": {"$gte": 1}}, {"tenant": "acme"}),
        ({"tenant": {"$eq": "acme"}, "kind": ["a", "b"]}, {"tenant": "acme"}),
        ({"$and": [{"tenant": "acme"}, {"year": 1}]}, {"tenant": "acme", "year": 1}),
        ({"$or": [{"tenant": "acme"}], "$not": {"year": 1}}, {}),
    ],
)
def test_a_scope_fixes_what_it_equals(
    scope: dict[str, object] | None, fixed: dict[str, object]
) -> None:
    assert fixed_by(Caller("", scope).scope) == fixed


def test_a_chat_cannot_tell_a_store_outside_its_scope_from_none(keyed: TestClient) -> None:
    use(keyed, "secret-all")
    hidden = new_store(keyed, metadata={"tenant": "zeta"})
    use(keyed, "secret-acme")
    for store in (hidden, "vs_none"):
        chosen = {"vector_store_ids": ["vs_index", store]}
        messages = [{"role": "user", "content": "Who?"}]
        body = {"messages": messages, "retrieval": chosen, "max_tokens": 1}
        reply = keyed.post("/v1/chat/completions", json=body)
        wrong = reply.json()["error"]
        assert (reply.status_code, wrong["param"]) == (404, "retrieval.vector_store_ids")
        assert store in wrong["message"]


def test_searches_of_a_store_take_turns_and_a_full_queue_refuses_at_once(
    serve: Callable[..., Serving],
) -> None:
    app = create_app(serve(max_queue=1))
    with TestClient(app, raise_server_exceptions=False) as client:
        search = {"query": ["Alba", "Brig"]}
        path = "/v1/vector_stores/vs_index/search"
        found = client.post(path, json=search).json()["data"]
        assert {one["passage_id"] for one in found} == {"alba", "brig"}
        with app.state.embedding_turns.admitted(), app.state.embedding_turns.admitted():
            reply = client.post(path, json=search)
            assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
            assert reply.headers["Retry-After"]
        assert client.post(path, json=search).status_code == 200
