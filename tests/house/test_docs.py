"""The documentation: it builds without a warning, and its first page of code runs."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from onegen_model.cli import main

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "generate" in (tmp_path / "reference" / "core" / "index.html").read_text("utf-8")


# Pages whose Python runs one after the other, as a reader would type it, and how many blocks of the
# last one do so; the later blocks of the LangChain guide need a corpus.
RUNNABLE = [
    (("get-started.md",), None),
    (("guides/own-documents.md", "guides/filters.md"), None),
    (("guides/entity-linking.md",), None),
    (("guides/langchain.md",), 4),
    (("guides/llama-index.md",), None),
]


@pytest.mark.weights
@pytest.mark.parametrize(("pages", "count"), RUNNABLE, ids=lambda value: str(value))
def test_the_python_of_a_page_runs(
    pages: tuple[str, ...], count: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for page in pages:
        found = blocks(page, "python")[:count]
        assert found, page
        for code in found:
            exec(compile(code, page, "exec"), namespace)


@pytest.mark.weights
def test_the_first_answer_is_shown_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = next(code for code in blocks("get-started.md", "sh") if code.startswith("echo"))
    for line in commands.splitlines():
        program, *words = shlex.split(line)
        if program == "echo":
            Path(words[2]).write_text(f"{words[0]}\n")
        else:
            assert main(words) == 0
    shown = re.sub(r"[\d.]+ s\n", "1.2 s\n", capsys.readouterr().out).rstrip("\n") + "\n"
    assert [shown] == blocks("get-started.md", "text")


def test_each_page_of_the_documentation_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", navigation, re.MULTILINE))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages == named


def test_the_picture_is_what_its_script_draws(tmp_path: Path) -> None:
    drawn = subprocess.run(
        [sys.executable, "docs/picture.py", str(tmp_path / "drawn.svg")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert drawn.returncode == 0
    kept = (ROOT / "docs" / "images" / "one_pass.svg").read_bytes()
    assert (tmp_path / "drawn.svg").read_bytes() == kept


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_reference_of_recipes_is_what_the_command_prints() -> None:
    recipe_keys = pytest.importorskip("onegen_model.finetune.run.recipe_keys").recipe_keys
    page = (ROOT / "docs" / "reference" / "recipes.md").read_text(encoding="utf-8")
    assert recipe_keys().strip() in page


def test_the_documentation_names_files_that_exist() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    roots = "training|onegen_model|onegen_integrations|benchmarks|examples|tests"
    for page in pages:
        for path in re.findall(rf"`((?:{roots})/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_main_path_is_ten_files_in_the_concepts() -> None:
    page = (ROOT / "docs" / "concepts" / "one-pass.md").read_text(encoding="utf-8")
    named = re.findall(r"^\d+\. `([\w/]+\.py)`", page, re.MULTILINE)
    assert len(named) == len(set(named)) == 10
    assert all((ROOT / path).exists() for path in named)


# Unions of types that are documented themselves, and an earlier name.
ALIASES = {"Event", "Part", "Quantization", "Ticket", "OneGenError"}


@pytest.mark.parametrize(
    ("page", "package"),
    [
        ("core", "onegen_model"),
        ("langchain", "onegen_integrations.langchain"),
        ("llama-index", "onegen_integrations.llama_index"),
    ],
)
def test_every_public_name_is_in_the_reference(page: str, package: str) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"^::: {re.escape(package)}\.(\w+)$", text, re.MULTILINE))
    assert set(import_module(package).__all__) - ALIASES <= named
