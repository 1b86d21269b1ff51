"""`/v1/rerank` and `/v1/score`: documents in the order in which an index finds them."""

from typing import Any

import cohere
import pytest
from fastapi.testclient import TestClient

from onegen_model import OneGenModel, Passage, PassageIndex, Query

QUERY = "Who founded Alba?"
DOCUMENTS = ["Brig was built by Ben.", "Alba was founded by Ann.", "Rain falls.", "Ann lives here."]


def ranked(model: OneGenModel, query: str, documents: list[str]) -> list[tuple[int, float]]:
    """The numbers and the cosines of documents, as an index finds them."""
    passages = [Passage(str(at), text) for at, text in enumerate(documents)]
    index = PassageIndex.build(model, passages)
    (vector,) = model.embed_queries([query])
    (found,) = index.retrieve([Query(vector, query, len(documents))])
    return [(int(one.passage.id), one.score) for one in found]


def results(reply: Any) -> list[tuple[int, float]]:
    return [(one["index"], one["relevance_score"]) for one in reply.json()["results"]]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_the_order_is_that_of_an_index(path: str, client: TestClient, model: OneGenModel) -> None:
    # Exactly what Open WebUI posts.
    body = {"model": "tiny", "query": QUERY, "documents": DOCUMENTS, "top_n": 3}
    reply = client.post(path, json=body)
    expected = ranked(model, QUERY, DOCUMENTS)[:3]
    assert [at for at, _ in results(reply)] == [at for at, _ in expected]
    for (_, found), (_, cosine) in zip(results(reply), expected, strict=True):
        assert found == pytest.approx((1 + cosine) / 2, abs=1e-5)
    tokens = sum(map(model.count_tokens, [QUERY, *DOCUMENTS]))
    assert reply.json()["usage"]["total_tokens"] == tokens


def test_a_long_document_is_as_good_as_its_best_fragment(
    client: TestClient, model: OneGenModel
) -> None:
    long = f"{'Rain falls on the hills. ' * 40}\n\n{DOCUMENTS[1]}"
    documents = [*DOCUMENTS, long]
    expected = ranked(model, QUERY, documents)  # The index cuts it, too.
    assert len(list(model.fragments(Passage("", long)))) > 1
    body = {"query": QUERY, "documents": documents}
    found = results(client.post("/v1/rerank", json=body))
    assert [at for at, _ in found] == [at for at, _ in expected]


def test_equal_documents_keep_their_order_in_any_batch(client: TestClient) -> None:
    documents = [*DOCUMENTS, "", DOCUMENTS[1], *(f"word {'and ' * at}" for at in range(30))]
    body = {"query": QUERY, "documents": documents}
    found = results(client.post("/v1/rerank", json=body))
    scores = dict(found)
    assert scores[1] == scores[5]
    order = [at for at, _ in found]
    assert order.index(1) < order.index(5)
    assert found[-1] == (4, 0.0)  # nothing fits less than an empty document
    alone = results(client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}))
    assert [at for at, _ in alone] == [at for at in order if at < 4]


def test_documents_may_have_titles_and_are_returned_when_asked_for(
    client: TestClient, model: OneGenModel
) -> None:
    documents = [{"text": "Ann founded it.", "title": "Alba"}, "Ann founded it."]
    body = {"query": QUERY, "documents": documents, "return_documents": True}
    found = client.post("/v1/rerank", json=body).json()["results"]
    by_index = {one["index"]: one for one in found}
    assert by_index[0]["document"] == documents[0]
    assert by_index[1]["document"] == {"text": documents[1]}
    (titled,) = model.embed_passages([Passage("", "Ann founded it.", "Alba")])
    cosine = float(titled @ model.embed_queries([QUERY])[0])
    assert by_index[0]["relevance_score"] == pytest.approx((1 + cosine) / 2, abs=1e-5)


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
def test_pairs_are_scored_as_documents_are_ranked(path: str, client: TestClient) -> None:
    def scores(**body: Any) -> list[float]:
        return [one["score"] for one in client.post(path, json=body).json()["data"]]

    found = dict(results(client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})))
    expected = pytest.approx([found[at] for at in range(4)], abs=1e-5)
    assert scores(text_1=QUERY, text_2=DOCUMENTS) == expected
    assert scores(queries=[QUERY], documents=DOCUMENTS) == expected
    pairs = scores(text_1=[QUERY, "Where does it rain?"], text_2=DOCUMENTS[:2])
    assert pairs[0] == pytest.approx(found[0], abs=1e-5)
    assert pairs[1] != pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"query": " ", "documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a"] * 2049}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": [{"image": "a"}]}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_k": 3}, "top_k"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        ("/v1/score", {"text_1": "a"}, "text_2"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_name(
    path: str, body: dict[str, Any], param: str, client: TestClient
) -> None:
    reply = client.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_the_client_of_cohere_ranks(url: str, model: OneGenModel) -> None:
    client = cohere.ClientV2(api_key="none", base_url=url)
    found = client.rerank(model="tiny", query=QUERY, documents=DOCUMENTS, top_n=2)
    expected = ranked(model, QUERY, DOCUMENTS)[:2]
    assert [one.index for one in found.results] == [at for at, _ in expected]
    assert all(0 <= one.relevance_score <= 1 for one in found.results)
