"""Keys, bodies and errors: what a request meets before its route."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app, read_keys
from onegen_model.errors import InvalidInputError


def test_models_are_listed_by_name(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("tiny", "model")
    assert client.get("/v1/models/tiny").json() == model


def test_an_unknown_model_is_named(client: TestClient) -> None:
    reply = client.get("/v1/models/other")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "tiny" in reply.json()["error"]["message"]


def test_an_unknown_route_has_the_same_form(client: TestClient) -> None:
    reply = client.get("/v1/nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    reply = client.put("/v1/models")
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ('{"messages": [', "application/json", "no JSON: Expecting value at character 14"),
        ('{"messages": []}', "text/plain", "`Content-Type: application/json`"),
    ],
)
def test_a_body_that_is_no_json_is_explained(
    client: TestClient, content: str, kind: str, words: str
) -> None:
    headers = {"content-type": kind}
    reply = client.post("/v1/chat/completions", content=content, headers=headers)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, None)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic secret-all"}, 401),
        ({"Authorization": "Bearer secret-all"}, 200),
        ({"x-api-key": "secret-acme"}, 200),
    ],
)
def test_a_key_lets_in(headers: dict[str, str], status: int, keyed: TestClient) -> None:
    reply = keyed.get("/v1/models", headers=headers)
    assert reply.status_code == status
    if status == 401:
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://testserver", 200),
        ("https://app.example.com", 200),
        ("https://outer.example.com", 200),
        ("https://evil.example.com", 403),
        ("https://outer.example.com.evil.example.com", 403),
        ("http://testserver.evil.example.com", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_origin_changes_nothing(
    origin: str | None, status: int, serve: Callable[..., Serving]
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    outer = "https://outer.example.com/onegen"
    app = create_app(serve(cors=("https://app.example.com",), public_url=outer))
    with TestClient(app, raise_server_exceptions=False) as client:
        form = {"file": ("a.txt", b"text"), "purpose": (None, "assistants")}
        reply = client.post("/v1/files", files=form, headers=headers)
        assert reply.status_code == status
        assert client.get("/v1/models", headers=headers).status_code == 200
        assert len(client.get("/v1/files").json()["data"]) == (status == 200)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example.com:8000", 421),
        ("localhost.evil.example.com", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_local_server_answers_to_its_own_names_alone(
    host: str, status: int, serve: Callable[..., Serving]
) -> None:
    app = create_app(serve(hosts=("localhost", "127.0.0.1", "::1")))
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/v1/models", "/"):
            assert client.get(path, headers={"Host": host}).status_code == status


def test_an_origin_that_cannot_be_read_is_foreign(client: TestClient) -> None:
    reply = client.post("/v1/chat/completions", json={}, headers={"Origin": "http://[::1"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(chunked: bool, serve: Callable[..., Serving]) -> None:
    app = create_app(serve(max_body=100))

    @app.post("/echo")
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    def parts() -> Iterator[bytes]:
        yield b'{"a": "'
        yield b"b" * 200 + b'"}'

    with TestClient(app) as client:
        body: Any = parts() if chunked else b'{"a": "' + b"b" * 200 + b'"}'
        reply = client.post("/echo", content=body)
        assert (reply.status_code, client.post("/echo", json={"a": 1}).status_code) == (413, 200)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cannot be read"),
        ("[]", "no list of keys"),
        ('[{"name": "a"}]', 'text "key"'),
        ('[{"key": "hush-1"}, {"key": "hush-1"}]', "twice"),
        ('[{"key": "hush-1", "scop": {}}]', "scop"),
        ('[{"key": "hush-1", "scope": {"a": {"$what": 1}}}]', "$what"),
        ('[{"key": " "}]', "empty"),
        (r'[{"key": "hush-1\n"}]', "white space"),
    ],
)
def test_a_wrong_file_of_keys_is_explained_without_a_key(
    text: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_keys(tmp_path / "keys.json")
    assert problem in str(caught.value)
    assert "hush" not in str(caught.value)
