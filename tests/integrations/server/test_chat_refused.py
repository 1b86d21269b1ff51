"""Chat requests that cannot be answered: each one clear error that names its parameter."""

import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app
from onegen_model import OneGenModel
from onegen_model.errors import QueueFullError
from tests.integrations.server.chat_bodies import PATH, WEATHER, body
from tests.support.script import scripted

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "quantum"}}}
DEEP: dict[str, Any] = reduce(lambda inner, _: {"$not": inner}, range(600), {"year": 1})
FORCED = {"type": "function", "function": {"name": "snow"}}


def post_ascii(client: TestClient, asked: Any) -> Any:
    """Half a character has no other form than its escape."""
    headers = {"content-type": "application/json"}
    return client.post(PATH, content=json.dumps(asked), headers=headers)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages.0"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"messages": [{"role": "user", "content": "half \ud800"}]}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": 3}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [WEATHER], "tool_choice": FORCED}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": SCHEMA}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"retrieval": {"mode": "sometimes"}}, "retrieval.mode"),
        ({"retrieval": {"topk": 3}}, "retrieval.topk"),
        ({"retrieval": {"filter": {"year": {"$near": 3}}}}, "retrieval.filter"),
        ({"retrieval": {"top_k": 0}}, "retrieval.top_k"),
        ({"retrieval": {"filter": DEEP}}, "retrieval.filter"),
        ({"retrieval": {"min_score": float("nan")}}, "retrieval.min_score"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, changed: dict[str, Any], param: str
) -> None:
    reply = post_ascii(client, body(**changed))
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param), error
    assert "; expected " in error["message"]
    assert error["type"] == "invalid_request_error"


def test_what_asks_for_nothing_or_changes_nothing_is_accepted(client: TestClient) -> None:
    harmless = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "logprobs": False,
        "modalities": ["text"],
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "stop": None,
        "retrieval": None,
        "n": None,
        "unknown": [1],
    }
    assert client.post(PATH, json=body(max_tokens=2, **harmless)).status_code == 200


def test_a_context_that_is_too_long_has_openais_code(
    client: TestClient, model: OneGenModel
) -> None:
    reply = client.post(PATH, json=body("x " * model.max_context, stream=True))
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["param"] == "messages"


@pytest.mark.parametrize(
    ("retrieval", "status", "param"),
    [
        ({"mode": "always"}, 400, "retrieval.mode"),
        ({"vector_store_ids": ["vs_none"]}, 404, "retrieval.vector_store_ids"),
    ],
)
def test_what_there_is_not_cannot_be_searched(
    serve: Callable[..., Serving], retrieval: Any, status: int, param: str
) -> None:
    with TestClient(create_app(serve(with_index=False))) as client:
        reply = client.post(PATH, json=body(retrieval=retrieval))
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


def test_another_model_does_not_search_the_index_of_the_first(
    serve: Callable[..., Serving], model: OneGenModel
) -> None:
    serving = serve()
    serving.models = {"first": OneGenModel(model._checkpoint), "tiny": model}
    with TestClient(create_app(serving)) as client:
        reply = client.post(PATH, json=body(retrieval={"mode": "always"}))
        plain = client.post(PATH, json=body(max_tokens=4))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")
    assert "onegen" not in plain.json()["choices"][0]["message"]


def test_a_full_queue_is_429_at_once_and_leaves_nothing_behind(
    client: TestClient, model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, handles = model.submit, []

    def refuse_the_third(*asked: Any, **options: Any) -> Any:
        if len(handles) == 2:
            raise QueueFullError("256 requests wait; expected fewer; try again")
        handles.append(submit(*asked, **options))
        return handles[-1]

    monkeypatch.setattr(model, "submit", refuse_the_third)
    with scripted(model, {"Count!": "<FINAL-ANSWER>" + "la " * 900}):
        reply = client.post(PATH, json=body("Count!", n=3, max_tokens=1000))
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert [handle.stream.is_wanted for handle in handles] == [False, False]


def test_half_a_character_in_any_name_is_no_fault_of_the_server(client: TestClient) -> None:
    for changed in (
        {"model": "\ud800"},
        {"tool_choice": "\ud800"},
        {"retrieval": {"\ud800": 1}},
        {"retrieval": {"vector_store_ids": ["\ud800"]}},
        {"retrieval": {"filter": {"\ud800": 1}}, "max_tokens": 2},
        {"response_format": {"type": "\ud800"}},
    ):
        reply = post_ascii(client, body() | changed)
        assert reply.status_code < 500, (changed, reply.text)
