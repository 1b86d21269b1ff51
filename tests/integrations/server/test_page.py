"""The files of the page: who gets them, and what a browser may do with them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from onegen_integrations import server
from onegen_integrations.server import Serving, create_app

FOLDER = Path(server.__file__).parent / "page" / "files"
FILES = sorted(FOLDER.iterdir())
# The name of a language, which no browser asks for.
NAMESPACE = "http://www.w3.org/2000/svg"
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|\beval\b"
    r"|new Function|localStorage|\bstyle=|\son\w+=\"|<script(?! type=\"module\" src=)"
)


def test_the_page_is_open_and_strict(keyed: TestClient) -> None:
    """Without a key: it asks its reader for one."""
    reply = keyed.get("/")
    assert (reply.status_code, reply.text) == (200, (FOLDER / "index.html").read_text("utf-8"))
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert keyed.head("/").headers["content-length"] == reply.headers["content-length"]
    assert keyed.get("/v1/models").status_code == 401


def test_every_file_is_served_by_its_name(keyed: TestClient) -> None:
    for path in FILES:
        reply = keyed.get(f"/page/{path.name}")
        assert (reply.status_code, reply.content) == (200, path.read_bytes())
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in reply.headers["content-security-policy"]
    script = keyed.get("/page/app.js").headers["content-type"]
    assert script == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/none.js",
        "/page/../routes.py",
        "/page/..%2Froutes.py",
        "/page/%2Fetc%2Fpasswd",
    ],
)
def test_nothing_else_is_served(path: str, serve: Callable[..., Serving]) -> None:
    with TestClient(create_app(serve())) as client:
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_page_is_small_and_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "//" not in re.sub(r"^\s*//.*$|\s// .*$", "", text, flags=re.M).replace(NAMESPACE, "")
    assert not re.search(r"https?:|data:(?!\")|@import|\bws:", text.replace(NAMESPACE, ""))
    assert not UNSAFE.search(text)
    assert len(text.splitlines()) <= 300


def test_every_file_that_is_named_exists() -> None:
    names = {path.name for path in FILES}
    for path in FILES:
        text = path.read_text("utf-8")
        assert {*re.findall(r"(?:page|\.)/([\w.]+\.(?:js|css|svg))", text)} <= names
