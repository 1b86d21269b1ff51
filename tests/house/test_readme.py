"""The code of the README runs."""

import re
from pathlib import Path

import pytest

from onegen_model.checkpoint.shipped import SHIPPED

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.weights
@pytest.mark.parametrize("code", blocks("python"), ids=["core", "langchain", "llama_index"])
def test_the_python_of_the_readme_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_pip_lines_are_those_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in re.findall(r"-m pip install (.*)", README):
        assert line in makefile.replace("-q ", "")


def test_the_pages_it_links_to_exist() -> None:
    for target in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_shipped_checkpoints_are_small() -> None:
    for folder in SHIPPED.values():
        assert sum(file.stat().st_size for file in folder.iterdir()) < 10_000_000
