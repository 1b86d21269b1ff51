"""Each example prints what its docstring says.

All run in this process on one default checkpoint, because a process of its own spends most of its
time on imports and on loading weights; one runs as a user would run it.
"""

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel

pytestmark = [pytest.mark.weights, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
AS_A_PROCESS = "01_own_documents.py"
NEEDED = {
    "01": ("langchain_core",),
    "02": ("langchain_core",),
    "03": ("langchain_core",),
    "04": ("langchain", "llguidance"),
    "05": ("langgraph.checkpoint.sqlite",),
    "06": ("llama_index.vector_stores.chroma",),
    "07": ("llama_index.vector_stores.faiss",),
    "08": ("llama_index.core",),
    "09": ("llama_index.core", "yaml"),
    "10": ("yaml",),
    "11": ("langchain_core",),
    "12": ("llama_index.core",),
    "13": ("fastapi", "uvicorn", "openai"),
}
COMMAND = "    $ python examples/"

Run = Callable[[Path, list[str]], str]


def promised(example: Path) -> list[tuple[list[str], list[str]]]:
    """Arguments and output of each command in the docstring."""
    runs: list[tuple[list[str], list[str]]] = []
    for line in str(ast.get_docstring(ast.parse(example.read_text("utf-8")), False)).splitlines():
        if line.startswith(COMMAND):
            name, *arguments = shlex.split(line.removeprefix(COMMAND))
            assert name == example.name
            runs.append((arguments, []))
        elif line.startswith("    ") and runs:
            runs[-1][1].append(line.removeprefix("    "))
    return runs


def plain(lines: list[str]) -> list[str]:
    """The lines without the decimals of scores, which depend on the processor."""
    return [re.sub(r"\d+\.\d+", "#", line).rstrip() for line in lines]


@pytest.fixture(scope="module")
def default() -> OneGenModel:
    return shared_model()


@pytest.fixture
def run_here(
    default: OneGenModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs an example on the default checkpoint as if the model had read nothing yet."""

    def run(example: Path, arguments: list[str]) -> str:
        default.engine.forget()  # type: ignore[union-attr]
        monkeypatch.setattr(sys, "argv", [str(example), *arguments])
        runpy.run_path(str(example), run_name="__main__")
        return capsys.readouterr().out

    return run


def run_as_a_process(example: Path, arguments: list[str]) -> str:
    found = subprocess.run(
        [sys.executable, str(example), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_shows(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_here: Run
) -> None:
    for module in NEEDED[example.name[:2]]:
        pytest.importorskip(module)
    runs = promised(example)
    assert runs
    monkeypatch.chdir(tmp_path)
    run = run_as_a_process if example.name == AS_A_PROCESS else run_here
    for arguments, expected in runs:
        assert plain(run(example, arguments).splitlines()) == plain(expected)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(example: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) <= 80
    assert f"`{example.name}`" in (example.parent / "README.md").read_text("utf-8")


def test_the_example_that_runs_as_a_process_exists() -> None:
    assert AS_A_PROCESS in [example.name for example in EXAMPLES]
