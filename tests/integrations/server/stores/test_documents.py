"""`/v1/documents/{id}`: a citation resolves to its passage."""

from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import ApiKey, ServerSettings, Serving, create_app
from onegen_integrations.server.documents import document_url
from onegen_model import OneGenModel, Passage, PassageIndex, PassagePlace
from tests.support.serving import running

# The test client of starlette unquotes twice, which the last ones do not survive.
IDS = ["a/b c.md#3", "?q=1&x", "\u6771\u4eac/z\u00fc#0", "/a//b/", "a/../b", "a+b"]
IDS += ["a/b%2Fc", "100%"]


def test_every_id_has_an_address(model: OneGenModel) -> None:
    index = PassageIndex.build(model, [Passage(one, f"Text {n}.") for n, one in enumerate(IDS)])
    with running(create_app(Serving({"tiny": model}, index))) as url:
        for n, one in enumerate(IDS):
            document = httpx.get(document_url(url, one)).json()
            assert (document["id"], document["text"]) == (one, f"Text {n}.")
            assert document["url"] == document_url(url, one)
            assert (document["vector_store_id"], document["file_id"]) == ("vs_index", one)
        reply = httpx.get(f"{url}/v1/documents/other")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_document_knows_its_place_and_its_neighbours(model: OneGenModel) -> None:
    passages = []
    for chunk, tenant in enumerate(["acme", "acme", "zeta"]):
        place = PassagePlace("a.md", "a.md", chunk, 3, headings=("Alba",), lines=(1, 2))
        metadata = {"tenant": tenant, **place.to_metadata()}
        passages.append(Passage(place.passage_id, f"Text {chunk}.", "Alba", metadata))
    keys = (ApiKey("secret-acme", "acme", {"tenant": "acme"}),)
    serving = Serving(
        {"tiny": model}, PassageIndex.build(model, passages), settings=ServerSettings(keys)
    )
    headers = {"Authorization": "Bearer secret-acme"}
    with TestClient(create_app(serving), headers=headers) as client:
        document = client.get("/v1/documents/a.md%231").json()
        assert document["place"]["headings"] == ["Alba"]
        assert (document["metadata"], document["filename"]) == ({"tenant": "acme"}, "a.md")
        assert document["previous"] == "http://testserver/v1/documents/a.md%230"
        assert document["next"] is None
        assert client.get("/v1/documents/a.md%232").status_code == 404


@pytest.mark.parametrize("with_index", [True, False])
def test_without_storage_only_the_index_has_documents(
    serve: Callable[..., Serving], with_index: bool
) -> None:
    with TestClient(create_app(serve(storage=None, with_index=with_index))) as client:
        assert client.get("/v1/documents/alba").status_code == (200 if with_index else 404)
        uploaded = f"vs_{'0' * 32}%2Ffile-{'0' * 32}%230"
        assert client.get(f"/v1/documents/{uploaded}").status_code == 404
