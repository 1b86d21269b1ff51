"""An OpenAI-compatible endpoint, played by a local server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.synthesis.endpoint import Endpoint, EndpointError, EndpointWriter, read_reply

PASSAGE = Passage("p", "Ada Berg owns Arden Mill.", "Mills")
GOOD = 'Here:\n```json\n[{"question": "Who owns Arden Mill?", "answer": "Ada Berg"}]\n```'


@dataclass
class Server:
    """Answers with the next of `replies`: a status, or the content of a message."""

    replies: list[Any] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append((self.path, body, self.headers.get("Authorization", "")))
            reply = state.replies.pop(0)
            status = reply if isinstance(reply, int) else 200
            content = {"choices": [{"message": {"content": reply}}]}
            text = json.dumps({"error": "no such model"} if status != 200 else content)
            self.send_response(status)
            self.end_headers()
            self.wfile.write((reply[4:] if str(reply).startswith("RAW:") else text).encode())

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    Thread(target=running.serve_forever, daemon=True).start()
    yield state
    running.shutdown()
    running.server_close()


def writer(server: Server, key: str = "") -> EndpointWriter:
    return EndpointWriter(Endpoint(server.url, "some-model", key, pause=0.001), count=2, seed=7)


def test_a_passage_is_sent_and_questions_come_back(server: Server) -> None:
    server.replies = [GOOD]
    [one] = writer(server, "secret").write(PASSAGE)
    assert (one.question, one.answer, one.passage) == ("Who owns Arden Mill?", "Ada Berg", PASSAGE)
    [(path, body, authorization)] = server.requests
    assert path == "/v1/chat/completions"
    assert authorization == "Bearer secret"
    assert (body["model"], body["seed"]) == ("some-model", 7)
    [message] = body["messages"]
    assert "Mills\nAda Berg owns Arden Mill." in message["content"]
    assert "Write 2 questions" in message["content"]


def test_a_busy_endpoint_is_asked_again(server: Server) -> None:
    server.replies = [503, 429, GOOD]
    assert len(writer(server).write(PASSAGE)) == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([404], 'answered 404 ({"error": "no such model"})'),
        ([500] * 4, "answered 500"),
        (["RAW:<html>"], "answered something else"),
        (["RAW:{}"], "answered something else"),
    ],
)
def test_an_endpoint_that_fails_is_named(server: Server, replies: list[Any], said: str) -> None:
    server.replies = replies
    with pytest.raises(EndpointError) as caught:
        writer(server, "secret").write(PASSAGE)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not server.replies


def test_an_endpoint_that_cannot_be_reached_is_named() -> None:
    lost = EndpointWriter(Endpoint("http://127.0.0.1:9/v1", "m", pause=0.001))
    with pytest.raises(EndpointError, match="cannot be reached"):
        lost.write(PASSAGE)


@pytest.mark.parametrize(
    "reply", ["", "no list", "[", '["question"]', '[{"question": 3, "answer": "x"}]', "[1, 2]"]
)
def test_a_reply_without_questions_gives_none(reply: str) -> None:
    assert read_reply(reply) == []


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Endpoint("http://localhost/v1", "m", "secret"))


@pytest.mark.parametrize(
    ("url", "model"), [("localhost:8000", "m"), ("file:///x", "m"), ("http://x/v1", "")]
)
def test_a_wrong_endpoint_is_refused(url: str, model: str) -> None:
    with pytest.raises(InvalidInputError, match="endpoint"):
        Endpoint(url, model)
