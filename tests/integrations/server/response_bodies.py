"""Bodies of requests for responses, and what the scripted model writes for them."""

import json
from typing import Any

from fastapi.testclient import TestClient

from onegen_model import ToolCall, render_tool_call
from tests.support.script import QUERY

PATH = "/v1/responses"
QUESTION = "Who founded Alba?"
FOLLOW_UP = "And who built Brig?"
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_index"]}
RESULTS = ["file_search_call.results"]
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"town": {"enum": ["Alba", "Brig"]}},
        "required": ["town"],
    },
}
CALL = render_tool_call(ToolCall("weather", {"town": "Alba"}))
TURNS = {
    QUESTION: f"Founder of Alba{QUERY}Ann did.\n<FINAL-ANSWER>Ann</FINAL-ANSWER>",
    FOLLOW_UP: f"Builder of Brig{QUERY}<FINAL-ANSWER>Ben</FINAL-ANSWER>",
    "Rain in Alba?": CALL,
    "It rains.": "<FINAL-ANSWER>Rain</FINAL-ANSWER>",
    "Count!": "<FINAL-ANSWER>" + "la " * 900,
}


def body(question: Any = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": question, **more}


def ask(client: TestClient, question: Any = QUESTION, **more: Any) -> Any:
    reply = client.post(PATH, json=body(question, **more))
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(client: TestClient, question: Any = QUESTION, **more: Any) -> tuple[int, Any, str]:
    """Status, parameter and message."""
    reply = client.post(PATH, json=body(question, **more))
    error = reply.json()["error"]
    return reply.status_code, error["param"], error["message"]


def events(client: TestClient, question: Any = QUESTION, **more: Any) -> list[dict[str, Any]]:
    """The data of a stream, whose events are named and numbered as their data says."""
    reply = client.post(PATH, json=body(question, stream=True, **more))
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    *parts, end = reply.text.split("\n\n")
    assert end == ""
    found = []
    for part in parts:
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


def types(output: list[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in output]
