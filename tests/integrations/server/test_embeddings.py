"""`/v1/embeddings`: what the model computes, through the clients that people have."""

import base64
from typing import Any

import numpy as np
import openai
import pytest
import tiktoken
from fastapi.testclient import TestClient
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding

from onegen_model import OneGenModel, Passage

TEXTS = ["Alba was founded by Ann.", "Who built Brig?", "A third text, which is longer."]


def require_close(found: object, expected: object) -> None:
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-5)


def passages(model: OneGenModel) -> Any:
    return model.embed_passages([Passage(text, text) for text in TEXTS])


def post(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/embeddings", json=body)


def vectors(reply: Any) -> Any:
    return np.array([one["embedding"] for one in reply.json()["data"]], np.float32)


@pytest.mark.parametrize(
    ("body", "is_query"),
    [
        ({}, False),
        ({"input_type": "search_document"}, False),
        ({"model": "tiny:passage"}, False),
        ({"input_type": "query"}, True),
        ({"input_type": "search_query", "model": "tiny"}, True),
        ({"model": "tiny:query", "input_type": "query", "user": "me"}, True),
    ],
)
def test_queries_and_passages_are_those_of_the_model(
    body: dict[str, Any], is_query: bool, client: TestClient, model: OneGenModel
) -> None:
    reply = post(client, input=TEXTS, dimensions=model.dimension, **body)
    expected = model.embed_queries(TEXTS) if is_query else passages(model)
    require_close(vectors(reply), expected)
    tokens = sum(map(model.count_tokens, TEXTS))
    assert reply.json()["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert reply.json()["model"] == body.get("model", "tiny")


def test_more_texts_than_are_embedded_at_a_time_keep_their_order(
    client: TestClient, model: OneGenModel
) -> None:
    texts = [f"{'word ' * (at % 7)}number {at}" for at in range(130)]
    found = vectors(post(client, input=texts))
    expected = model.embed_passages([Passage(text, text) for text in texts])
    require_close(found, expected)


def test_base64_is_little_endian_float32(client: TestClient, model: OneGenModel) -> None:
    (one,) = post(client, input=TEXTS[0], encoding_format="base64").json()["data"]
    found = np.frombuffer(base64.b64decode(one["embedding"]), "<f4")
    require_close(found, passages(model)[0])


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": ""}, "input", "input is empty"),
        ({"input": []}, "input", "0 entries"),
        ({"input": ["a", " "]}, "input", "input[1] is empty"),
        ({"input": ["a"] * 2049}, "input", "2049 entries"),
        ({"input": ["short", "word " * 400]}, "input", "input[1] has"),
        ({"input": "word " * 4000, "input_type": "query"}, "input", "tokens"),
        ({"input": {"text": "a"}}, "input", "type dict"),
        ({"input": [1, 2, 3]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": "a", "dimensions": 2}, "dimensions", "dimensions=2"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "float"),
        ({"input": "a", "input_type": "clustering"}, "input_type", "query"),
        ({"input": "a", "input_type": "query", "model": "tiny:passage"}, "input_type", "query"),
        ({"input": "a", "truncate": "END"}, "truncate", "split"),
        ({"model": "tiny"}, "input", "required"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    body: dict[str, Any], param: str, words: str, client: TestClient
) -> None:
    reply = post(client, **body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert words in error["message"]


@pytest.mark.parametrize("name", ["other", "tiny:other", "other:query"])
def test_an_unknown_name_is_not_found(name: str, client: TestClient) -> None:
    assert post(client, input="a", model=name).status_code == 404


def test_clients_get_the_embeddings_of_the_model(url: str, model: OneGenModel) -> None:
    own, queries = passages(model), model.embed_queries(TEXTS)
    options: Any = {"base_url": f"{url}/v1", "api_key": "none"}
    client = openai.OpenAI(**options)
    formats: Any = ({}, {"encoding_format": "float"})
    for asked in formats:
        reply = client.embeddings.create(model="tiny", input=TEXTS, **asked)
        require_close([one.embedding for one in reply.data], own)
    as_query = {"input_type": "query"}
    reply = client.embeddings.create(model="tiny", input=TEXTS, extra_body=as_query)
    require_close([one.embedding for one in reply.data], queries)

    chain: Any = {**options, "check_embedding_ctx_length": False}
    stored = OpenAIEmbeddings(model="tiny:passage", **chain).embed_documents(TEXTS)
    require_close(stored, own)
    asked_for = OpenAIEmbeddings(model="tiny:query", **chain).embed_query(TEXTS[1])
    require_close(asked_for, queries[1])

    llama: Any = {"api_base": f"{url}/v1", "api_key": "none"}
    found = OpenAIEmbedding(model_name="tiny:query", **llama).get_query_embedding(TEXTS[1])
    require_close(found, queries[1])
    batch = OpenAIEmbedding(model_name="tiny", **llama).get_text_embedding_batch(TEXTS)
    require_close(batch, own)


def test_langchain_which_sends_token_ids_is_told_what_to_change(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoding:
        def encode_ordinary(self, text: str) -> list[int]:
            return [*text.encode()]

    def unknown(_: str) -> Any:
        raise KeyError

    monkeypatch.setattr(tiktoken, "encoding_for_model", unknown)  # Both ask a host of OpenAI.
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: Encoding())
    embeddings = OpenAIEmbeddings(model="tiny", base_url=f"{url}/v1", api_key="none")  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        embeddings.embed_documents(TEXTS)
