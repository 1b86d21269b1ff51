"""What a request for a response cannot have, by the name of the parameter."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.integrations.server.response_bodies import PATH, SEARCH, WEATHER, refused

CALL = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
FORMAT = {"type": "json_schema", "name": "x"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"include": ["message.output_text.logprobs"]}, "include.0"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": FORMAT}}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [WEATHER, SEARCH, SEARCH]}, "tools.2.type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.name"),
        ({"tools": [{"type": "file_search"}]}, "tools.0.vector_store_ids"),
        ({"tools": [{**SEARCH, "max_num_results": 51}]}, "tools.0.max_num_results"),
        ({"tools": [{**SEARCH, "filters": {"type": "is"}}]}, "tools.0.filters.type"),
        (
            {"tools": [{**SEARCH, "ranking_options": {"hybrid_search": {}}}]},
            "tools.0.ranking_options.hybrid_search",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "snow"}, "tools": [WEATHER]}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}, "tools": [WEATHER]}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            "tool_choice.tools",
        ),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hi"]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type"),
        ({"input": [{"role": "critic", "content": "hi"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 3}]}, "input.0.content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input.0.content.0.type",
        ),
        ({"input": [{"role": "user", "content": "hi"}, {"type": "reasoning"}, 3]}, "input.2"),
        ({"input": [{"role": "user", "content": "\ud800"}]}, "input.0"),
        ({"input": [{"role": "system", "content": "hi"}]}, "input"),
        ({"input": [{"role": "user", "content": " "}]}, "input"),
        ({"input": [{**CALL, "arguments": {}}]}, "input.0.arguments"),
        (
            {"input": [CALL, {"type": "function_call_output", "call_id": "d", "output": ""}]},
            "input.1.call_id",
        ),
    ],
)
def test_wrong_requests_name_their_parameter(
    client: TestClient, more: dict[str, Any], param: str
) -> None:
    # ASCII: half a surrogate pair has no other form.
    content = json.dumps({"model": "tiny", "input": "Who founded Alba?", **more})
    reply = client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert "; expected " in reply.json()["error"]["message"]


def test_what_changes_nothing_is_ignored(client: TestClient) -> None:
    content = json.dumps(
        {
            "input": "Who founded Alba?",
            "max_output_tokens": 1,
            "user": "someone",
            "reasoning": {"effort": "low"},
            "service_tier": "auto",
            "stream_options": {"include_obfuscation": False},
            "include": ["reasoning.encrypted_content"],
            "text": {"verbosity": "\ud800"},
        }
    )
    reply = client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 200, reply.text


def test_a_request_over_the_context(client: TestClient) -> None:
    status, param, message = refused(client, "la " * 9000)
    assert (status, param) == (400, "input")
    assert "la la" not in message


def test_a_vector_store_that_is_not_there(keyed: TestClient) -> None:
    keyed.headers["Authorization"] = "Bearer secret-all"
    gone, others = (keyed.post("/v1/vector_stores", json={}).json()["id"] for _ in range(2))
    keyed.delete(f"/v1/vector_stores/{gone}")

    def search(*ids: str) -> tuple[int, Any]:
        return refused(keyed, tools=[WEATHER, {**SEARCH, "vector_store_ids": ids}])[:2]

    assert search("vs_index", gone) == (404, "tools.1.vector_store_ids")
    assert search("vs_0") == (404, "tools.1.vector_store_ids")
    keyed.headers["Authorization"] = "Bearer secret-acme"
    assert search(others) == (404, "tools.1.vector_store_ids")
