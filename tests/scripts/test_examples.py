"""Each example prints what its docstring says."""

import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from onegen_integrations.shared import models as shared

pytestmark = [pytest.mark.weights, pytest.mark.slow]

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
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
}
COMMAND = "    $ python examples/"


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
    """Without what the processor decides: the decimals of scores."""
    return [re.sub(r"\d+\.\d+", "#", line).rstrip() for line in lines]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_says(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in NEEDED[example.name[:2]]:
        pytest.importorskip(module)
    runs = promised(example)
    assert runs
    monkeypatch.chdir(tmp_path)
    # In this process, as a new one would spend half its time on imports; with a model of its own,
    # which has read nothing yet.
    monkeypatch.setattr(shared, "_models", {})
    for arguments, expected in runs:
        monkeypatch.setattr(sys, "argv", [str(example), *arguments])
        runpy.run_path(str(example), run_name="__main__")
        assert plain(capsys.readouterr().out.splitlines()) == plain(expected)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(example: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) <= 80
    assert f"`{example.name}`" in (example.parent / "README.md").read_text("utf-8")
