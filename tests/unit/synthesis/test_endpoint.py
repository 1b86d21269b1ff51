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
    headers: dict[str, str] = field(default_factory=dict)
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
            for header in state.headers.items():
                self.send_header(*header)
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


@pytest.mark.parametrize(
    "around",
    [
        "[1] I think [so]: {}",
        '<think>["question"]</think>\n```json\n{}\n```\n[end]',
        '{{"questions": {}}}',
        "[broken {}",
    ],
)
def test_the_list_is_found_in_a_reply(around: str) -> None:
    rows = '[{"question": "Who?", "answer": "Ada"}]'
    assert read_reply(around.format(rows)) == [("Who?", "Ada")]


def test_a_reply_that_no_file_can_hold_gives_none() -> None:
    assert read_reply('[{"question": "Who \\ud83d?", "answer": "Ada"}]') == []
    assert read_reply("[" * 100_000) == []


def test_a_redirect_does_not_carry_the_key_elsewhere(server: Server) -> None:
    server.replies, server.headers = [302], {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(EndpointError, match="answered 302"):
        writer(server, "secret").write(PASSAGE)
    assert len(server.requests) == 1


def test_an_endpoint_says_how_long_to_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("onegen_model.synthesis.endpoint.time.sleep", waited.append)
    for asked in ("7", "Wed, 21 Oct 2015 07:28:00 GMT", "100000"):
        server.replies, server.headers = [429, GOOD], {"Retry-After": asked}
        writer(server).write(PASSAGE)
    assert waited == [7, 0.001, 60]


def test_an_endpoint_that_quotes_the_key_does_not_show_it(server: Server) -> None:
    server.replies = ['RAW:["secret"']
    with pytest.raises(EndpointError) as caught:
        writer(server, "secret").write(PASSAGE)
    server.replies = [[{"you sent": "secret"}]]
    with pytest.raises(EndpointError) as quoted:
        writer(server, "secret").write(PASSAGE)
    assert "secret" not in f"{caught.value} {quoted.value}"


def test_a_key_with_a_line_break_is_refused_and_not_shown() -> None:
    assert Endpoint("http://localhost/v1", "m", "secret\r\n").key == "secret"
    for key in ("sec\nret", "secrét"):
        with pytest.raises(InvalidInputError) as caught:
            Endpoint("http://localhost/v1", "m", key)
        assert "sec" not in str(caught.value)


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Endpoint("http://localhost/v1", "m", "secret"))


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("localhost:8000", "m"),
        ("file:///x", "m"),
        ("http://x/v1", ""),
        ("http://me:secret@x/v1", "m"),
        ("http://x/v1?key=secret", "m"),
    ],
)
def test_a_wrong_endpoint_is_refused(url: str, model: str) -> None:
    with pytest.raises(InvalidInputError, match="endpoint") as caught:
        Endpoint(url, model)
    assert "secret" not in str(caught.value)
