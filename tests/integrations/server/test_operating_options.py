"""The options of `onegen serve`: what is refused, and before what."""

import json
import socket
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import commands, running
from onegen_integrations.server.entrance import Entrance
from onegen_integrations.server.listening import listen
from onegen_model import OneGenModel
from onegen_model.cli import main
from onegen_model.cli.parser import parse_arguments
from onegen_model.errors import InvalidInputError


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEGEN_API_KEY", raising=False)


def parse(*arguments: str) -> Namespace:
    return parse_arguments(["serve", "--port", "0", *arguments])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[running.Run]:
    """What would have been run."""
    jobs: list[running.Run] = []
    monkeypatch.setattr(running, "run", lambda job, listener: jobs.append(job) or 0)
    return jobs


def never(*_: object) -> OneGenModel:
    raise AssertionError("nothing may be loaded")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--workers 2", "one engine"),
        ("--max-queue 0", "change --max-queue"),
        ("--max-body 0", "change --max-body"),
        ("--drain-seconds -1", "change --drain-seconds"),
        ("--drain-seconds nan", "change --drain-seconds"),
        ("--port 65536", "change --port"),
        ("--host nowhere.example.invalid", "change --host"),
        ("--host 203.0.113.7", "no address of this machine"),
        ("--host 0.0.0.0", "no key is set"),
        ("--index absent", "change --index"),
        ("--entities absent", "change --entities"),
        ("--api-keys absent.json", "cannot be read"),
        ("--cors app.example.com", "change cors"),
        ("--top-k 0", "top_k"),
        ("--max-retrievals -1", "max_retrievals"),
        ("--max-new-tokens 0", "max_new_tokens"),
        ("--min-score nan", "min_score"),
        ("--model a=x --model a=y", "named 'a'"),
        ("--model a=", "expected NAME=PATH"),
        ("--model =x", "expected NAME=PATH"),
    ],
)
def test_a_wrong_option_is_an_error_before_anything_is_loaded(
    arguments: str, problem: str, served: list[running.Run], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["serve", "--port", "0", *arguments.split(" ")]
    assert main(argv, load_model=never) == 2
    errors = capsys.readouterr().err
    assert problem in errors
    assert len(errors.splitlines()) == 1
    assert not served


def test_a_port_in_use_is_told_at_once(
    served: list[running.Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port], load_model=never) == 2
    assert f"port {port} is in use" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_of_this_machine_needs_no_key(host: str, served: list[running.Run]) -> None:
    assert main(["serve", "--port", "0", "--host", host], load_model=never) == 0
    assert len(served) == 1


@pytest.mark.parametrize("access", [["--api-key", "a"], ["--allow-anonymous"], None])
def test_other_machines_are_served_with_a_key_or_on_demand(
    access: list[str] | None, served: list[running.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    if access is None:
        monkeypatch.setenv("ONEGEN_API_KEY", "from-environment")
    argv = ["serve", "--port", "0", "--host", "0.0.0.0", *(access or [])]
    assert main(argv, load_model=never) == 0
    assert len(served) == 1


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        ([], []),
        (["--host", "127.0.0.2"], ["127.0.0.2"]),
        (["--public-url", "https://onegen.example.com/a"], ["onegen.example.com"]),
        (["--public-url", "http://[::1"], []),
        (["--allow-anonymous"], None),
        (["--api-key", "hush"], None),
    ],
)
def test_a_local_server_without_a_key_answers_to_local_names(
    arguments: list[str], others: list[str] | None
) -> None:
    options = parse(*arguments)
    listener = listen(options.host, 0)
    settings = commands.with_hosts(options, commands.read_settings(options), listener)
    listener.socket.close()
    expected = () if others is None else ("localhost", "127.0.0.1", "::1", *others)
    assert settings.hosts == expected


def test_keys_come_from_options_the_environment_and_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys.json").write_text('[{"key": "three", "name": "acme"}]')
    monkeypatch.setenv("ONEGEN_API_KEY", "two")
    settings = commands.read_settings(
        parse("--api-key", "hush", "--api-keys", str(tmp_path / "keys.json"))
    )
    assert [key.secret for key in settings.keys] == ["hush", "two", "three"]
    assert "hush" not in repr(settings)


def test_defaults_of_a_request_come_from_the_options() -> None:
    options = parse(
        *("--top-k", "4", "--max-retrievals", "2", "--min-score", "0.5"),
        *("--max-new-tokens", "9", "--public-url", "https://onegen.example.com"),
    )
    settings = commands.read_settings(options)
    retrieval = settings.retrieval
    assert (retrieval.top_k, retrieval.max_retrievals, retrieval.min_score) == (4, 2, 0.5)
    assert settings.sampling.max_new_tokens == 9
    assert settings.public_url == "https://onegen.example.com"
    asked, served = parse_arguments(["ask", "q"]), parse()
    for name in ("top_k", "max_retrievals", "min_score", "max_new_tokens"):
        assert getattr(served, name) == getattr(asked, name)


def test_models_have_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert commands.named_models(None) == {"onegen": None}
    assert commands.named_models([str(folder), "small=~/x", "org/model"]) == {
        folder.name: str(folder),
        "small": "/home/somebody/x",
        "org/model": "org/model",
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_a_line_says_what_is_served(
    as_json: bool,
    serve: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands.announce(parse(*["--json"] * as_json), serve(), "http://127.0.0.1:8000")
    line = capsys.readouterr().out.rstrip("\n")
    if as_json:
        event = json.loads(line)
        assert (event["event"], event["url"]) == ("serving", "http://127.0.0.1:8000")
        assert (event["models"], event["index"]) == (["tiny"], {"passages": 2})
    else:
        expected = "Serving at http://127.0.0.1:8000: tiny; index of 2 passages; files are kept"
        assert line == expected


def test_the_queue_reaches_the_model(model: OneGenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        OneGenModel, "from_pretrained", lambda *_, **options: seen.append(options) or model
    )

    def run(job: running.Run, listener: object) -> int:
        job.load()
        return 0

    monkeypatch.setattr(running, "run", run)
    assert main(["serve", "--port", "0", "--max-queue", "3"]) == 0
    assert [options["max_queue"] for options in seen] == [3]


def test_entities_need_a_model_that_links(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OneGenModel, "can_link", False)
    options = parse("--entities", str(tmp_path))
    with pytest.raises(InvalidInputError, match="add `--model entity-linking`"):
        commands.open_serving(options, commands.read_settings(options), lambda *_: model)


def test_an_address_is_written_as_browsers_read_it() -> None:
    listener = listen("127.0.0.1", 0)
    with listener.socket:
        assert listener.is_local
        port = listener.socket.getsockname()[1]
        assert listener.url == f"http://127.0.0.1:{port}"


def test_nobody_is_let_in_after_a_stop_that_came_first() -> None:
    entrance = Entrance()
    entrance.drain()
    entrance.open(lambda *_: None)  # type: ignore[arg-type,return-value]
    client = TestClient(entrance)
    assert client.get("/ready").json() == {"status": "draining"}
    reply = client.get("/v1/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "draining")
    assert client.get("/health").status_code == 200
