"""The files that run a server: their commands are ours, and what they name exists."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from onegen_integrations.server.commands import require_usable
from onegen_model.cli.parser import parse_arguments

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["onegen"]
UNIT = (DEPLOY / "onegen.service").read_text("utf-8")


def instruction(name: str) -> list[str]:
    """The arguments of an instruction in the Dockerfile."""
    return re.findall(rf"^\s*{name} (.*)$", DOCKERFILE, re.MULTILINE)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_the_image_starts_a_server_that_other_machines_reach() -> None:
    program, *words = json.loads(instruction("ENTRYPOINT")[-1])
    options = parse_arguments([*words, *COMPOSE["command"]])
    require_usable(options)
    assert (program, words[0], options.host) == ("onegen", "serve", "0.0.0.0")
    assert instruction("USER") == ["onegen"]
    assert instruction("EXPOSE") == [str(options.port)]
    check = json.loads(instruction("HEALTHCHECK")[0].partition("CMD")[2])[-1]
    assert f":{options.port}/ready" in check
    compile(check, "HEALTHCHECK", "exec")
    assert Path(options.storage).is_relative_to(instruction("VOLUME")[0])
    assert "ONEGEN_API_KEY" in COMPOSE["environment"]
    assert COMPOSE["ports"] == [f"127.0.0.1:{options.port}:{options.port}"]
    assert seconds(COMPOSE["stop_grace_period"]) > options.drain_seconds


def test_the_image_copies_files_that_exist() -> None:
    context = (DEPLOY / COMPOSE["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / COMPOSE["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    copied = [name for line in instruction("COPY") for name in line.split()[:-1]]
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in let_in


def test_the_unit_starts_a_server() -> None:
    [line] = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    program, *words = shlex.split(line)
    options = parse_arguments(words)
    require_usable(options)
    assert (Path(program).name, options.host) == ("onegen", "127.0.0.1")
    [limit] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert float(limit) > options.drain_seconds


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "onegen.service"])
def test_the_guide_names_the_file(name: str) -> None:
    guide = (ROOT / "docs" / "guides" / "serving.md").read_text("utf-8")
    assert f"docs/deploy/{name}" in guide
