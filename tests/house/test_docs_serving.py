"""The guide to serving: its commands run, and its table of metrics is complete."""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Route

from onegen_integrations.server import ServerSettings, Serving, create_app, page
from onegen_integrations.server.chat import chat_request
from onegen_integrations.server.commands import require_usable
from onegen_integrations.server.responses import response_request
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, PassageIndex, grow_index
from onegen_model.cli.parser import parse_arguments
from tests.conftest import MakeNetwork
from tests.support.guide import DOCS, blocks_of, steady, story, told
from tests.support.integrations_models import save_model
from tests.support.script import QUERY, scripted
from tests.support.serving import running

PAGES = ("guides/serving.md", "guides/serving-embeddings.md")
GUIDE = (DOCS / PAGES[0]).read_text("utf-8")
TYPES = re.compile(r"^# TYPE (onegen:\w+) \w+$", re.MULTILINE)
# The notes of the guide, and what the tiny model writes about them.
NOTES = "Ilse Moor keeps the lighthouse of Tavenoch. She was born in Harvik.\n"
TURNS = {
    "lighthouse of Tavenoch?": f"Keeper{QUERY}<FINAL-ANSWER>Ilse Moor</FINAL-ANSWER>",
    "where was she born?": f"Place{QUERY}<FINAL-ANSWER>Harvik</FINAL-ANSWER>",
    "bakery of Tavenoch?": f"Owner{QUERY}<FINAL-ANSWER>Per Anker</FINAL-ANSWER>",
}

Serve = Callable[[OneGenModel], AbstractContextManager[str]]


def blocks(language: str) -> list[str]:
    return [one.code for one in blocks_of(PAGES[0]) if one.language == language]


@pytest.fixture(scope="module")
def serving(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    folder = save_model(make_network, tmp_path_factory.mktemp("guide"), num_hidden_layers=1)
    model = OneGenModel.from_pretrained(folder)
    return Serving({"onegen": model}, PassageIndex.build(model, []), settings=ServerSettings())


@pytest.fixture
def serve_notes(tmp_path: Path) -> Serve:
    """Serves the notes of the guide as its first commands do."""

    @contextmanager
    def serve(model: OneGenModel) -> Iterator[str]:
        (tmp_path / "notes.md").write_text(NOTES)
        grow_index(model, [tmp_path / "notes.md"], tmp_path / "my.index")
        index = PassageIndex.load(model, tmp_path / "my.index")
        settings = ServerSettings(storage=tmp_path / "served")
        with running(create_app(Serving({"onegen": model}, index, settings=settings))) as url:
            yield url

    return serve


@pytest.mark.slow
def test_the_requests_of_the_guides_are_answered(
    serving: Serving, serve_notes: Serve, tmp_path: Path
) -> None:
    model = serving.models["onegen"]
    with serve_notes(model) as url, scripted(model, TURNS):
        for path in PAGES:
            for block, output in told(story(path), url, tmp_path):
                assert output or "print" not in block.code, block.code


@pytest.mark.weights
@pytest.mark.slow
def test_the_guides_show_what_is_answered(serve_notes: Serve, tmp_path: Path) -> None:
    model = shared_model()
    model.engine.forget()  # type: ignore[union-attr]
    with serve_notes(model) as url:
        for path in PAGES:
            for block, output in told(story(path), url, tmp_path):
                if block.shown:
                    assert steady(output) == steady(block.shown), block.code


def test_the_tables_of_refused_parameters_are_complete() -> None:
    for route, refused in (
        ("chat/completions", chat_request._REFUSED),
        ("responses", response_request._REFUSED),
    ):
        [line] = re.findall(rf"^\| `/v1/{route}` \| (`.*) \|$", GUIDE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", line)) - {"file_search"} == set(refused)


def test_the_reference_has_every_route_of_the_server(serving: Serving) -> None:
    reference = (DOCS / "reference" / "routes.md").read_text("utf-8")
    named = {
        (method, path)
        for methods, path in re.findall(r"^\| `([A-Z, ]+) (/\S*)` \|", reference, re.MULTILINE)
        for method in methods.split(", ")
    }
    assert named == set(_served(create_app(serving)))


def _served(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of each route; the schema leaves out the page and what shows the schema."""
    for path, methods in app.openapi()["paths"].items():
        yield from ((method.upper(), path) for method in methods)
    for route in (*app.routes, *page.router.routes):
        if isinstance(route, Route) and not route.path.endswith("/oauth2-redirect"):
            yield "GET", route.path


def test_the_application_of_the_guide_is_one(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, index = serving.models["onegen"], serving.index
    assert index is not None
    index.save("my.index")
    monkeypatch.setattr(OneGenModel, "from_pretrained", lambda max_queue: model)
    namespace: dict[str, Any] = {}
    [code] = [one for one in blocks("python") if "create_app" in one]
    exec(compile(code, "serving.md", "exec"), namespace)
    assert namespace["app"].state.serving.models == {"onegen": model}


def test_the_table_of_metrics_is_complete(serving: Serving) -> None:
    named = set(re.findall(r"^\| `(onegen:\w+)` \|", GUIDE, re.MULTILINE))
    text = serving.observer.metrics.exposition().decode()
    shown = {name for name in TYPES.findall(text) if not name.endswith("_created")}
    assert named == shown


def test_the_options_of_the_guide_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my.index", "people.index"):
        Path(name).mkdir()
    shell = [one.code for path in PAGES for one in blocks_of(path) if one.language == "sh"]
    lines = [line for code in shell for line in code.splitlines() if "onegen serve" in line]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)
        require_usable(parse_arguments(words[words.index("serve") :]))
    with pytest.raises(SystemExit):
        parse_arguments(["serve", "--help"])
    known = capsys.readouterr().out
    for flag in set(re.findall(r"`(--[a-z-]+)", GUIDE)):
        assert flag in known, flag
