"""Each example prints what its docstring says."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.weights, pytest.mark.slow]

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
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
def test_an_example_prints_what_its_docstring_says(example: Path, tmp_path: Path) -> None:
    for module in NEEDED[example.name[:2]]:
        pytest.importorskip(module)
    runs = promised(example)
    assert runs
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for arguments, expected in runs:
        done = subprocess.run(
            [sys.executable, str(example), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert plain(done.stdout.splitlines()) == plain(expected)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(example: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) <= 80
    assert f"`{example.name}`" in (example.parent / "README.md").read_text("utf-8")
