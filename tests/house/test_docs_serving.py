"""The guide to serving: its commands run, and its table of metrics is complete."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onegen_integrations.server import ServerSettings, Serving, create_app
from onegen_integrations.server.commands import require_usable
from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.cli.parser import parse_arguments
from tests.conftest import MakeNetwork
from tests.support.integrations_models import save_model
from tests.support.serving import running

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "serving.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"
TYPES = re.compile(r"^# TYPE (onegen:\w+) \w+$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def commands(program: str) -> list[str]:
    """The blocks that run a program."""
    return [code for code in blocks("sh") if code.startswith(program)]


@pytest.fixture(scope="module")
def serving(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    folder = save_model(make_network, tmp_path_factory.mktemp("guide"), num_hidden_layers=1)
    model = OneGenModel.from_pretrained(folder)
    index = PassageIndex.build(model, [Passage("alba", "Alba was founded by Ann.")])
    return Serving({"onegen": model}, index, settings=ServerSettings())


@pytest.fixture(scope="module")
def url(serving: Serving) -> Iterator[str]:
    with running(create_app(serving)) as url:
        yield url


@pytest.mark.parametrize("code", commands("curl"))
def test_a_request_of_the_guide_is_answered(code: str, url: str, tmp_path: Path) -> None:
    assert ADDRESS in code
    done = subprocess.run(
        ["bash", "-euc", code.replace(ADDRESS, url)],
        cwd=tmp_path,
        env={**os.environ, "ONEGEN_API_KEY": "any"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_guide_shows_the_fields_of_readiness(url: str) -> None:
    done = subprocess.run(["curl", "-sf", f"{url}/ready"], capture_output=True, check=True)
    shown = next(json.loads(code) for code in blocks("json") if "ready" in code)
    assert shown.keys() == json.loads(done.stdout).keys()


def test_the_python_of_the_guide_runs(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, index = serving.models["onegen"], serving.index
    assert index is not None
    index.save("my.index")
    monkeypatch.setattr(OneGenModel, "from_pretrained", lambda max_queue: model)
    namespace: dict[str, Any] = {}
    [code] = blocks("python")
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
    Path("my.index").mkdir()
    lines = [line for code in blocks("sh") for line in code.splitlines() if "onegen serve" in line]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line)
        require_usable(parse_arguments(words[words.index("serve") :]))
    with pytest.raises(SystemExit):
        parse_arguments(["serve", "--help"])
    known = capsys.readouterr().out
    for flag in set(re.findall(r"`(--[a-z-]+)", GUIDE)):
        assert flag in known, flag
