"""Bodies of chat requests, and what the scripted model writes for them."""

import json
from collections.abc import Iterator
from typing import Any

from fastapi.testclient import TestClient

from onegen_model import ToolCall, render_tool_call
from tests.support.script import QUERY

PATH = "/v1/chat/completions"
QUESTION = "Who founded Alba?"
TURN = f"Founder of Alba{QUERY}Ann did.\n<FINAL-ANSWER>Ann</FINAL-ANSWER>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"enum": ["Alba", "Brig"]}},
            "required": ["town"],
        },
    },
}
CALL = render_tool_call(ToolCall("weather", {"town": "Alba"}))
TURNS = {
    QUESTION: TURN,
    "Rain in Alba?": CALL,
    "The weather": "<FINAL-ANSWER>Rain</FINAL-ANSWER>",
    "Count!": "<FINAL-ANSWER>" + "la " * 900,
}


def body(question: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": question}], **more}


def events(client: TestClient, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The data of a stream, without its last line."""
    reply = client.post(PATH, json={**asked, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *parts, end = reply.text.split("\n\n")
    assert end == ""
    for part in parts:
        if part != "data: [DONE]":
            yield json.loads(part.removeprefix("data: "))
