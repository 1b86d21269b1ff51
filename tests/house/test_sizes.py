"""How large files and functions may grow."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 300, 40, 6
PACKAGES = ("onegen_model", "onegen_integrations")
OTHERS = ("benchmarks", "examples", "training", "tests", "docs")


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function, and whether its first parameter is the object or class it belongs to."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                static = any(ast.unparse(d) == "staticmethod" for d in child.decorator_list)
                yield child, isinstance(node, ast.ClassDef) and not static


def code_lines(text: str) -> set[int]:
    """The numbers of the lines that hold code: not blank, no comment, no docstring."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in layout
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = body[0] if body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return lines


def too_large(text: str) -> list[str]:
    lines = code_lines(text)
    problems = []
    for function, bound in functions(ast.parse(text)):
        length = len(lines & set(range(function.lineno, (function.end_lineno or 0) + 1)))
        arguments = function.args
        named = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - bound
        if length > MAX_FUNCTION_LINES:
            problems.append(f"line {function.lineno}: {function.name} has {length} lines of code")
        if named > MAX_PARAMETERS:
            problems.append(f"line {function.lineno}: {function.name} takes {named} parameters")
    return problems


@pytest.mark.parametrize("path", files(*PACKAGES, *OTHERS), ids=lambda path: path.stem)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", files(*PACKAGES), ids=lambda path: path.stem)
def test_functions_stay_small(path: Path) -> None:
    assert too_large(path.read_text(encoding="utf-8")) == []


def test_a_large_function_is_seen() -> None:
    text = (
        'def f(a, b, c, d, e, f, g):\n    """\n    Doc.\n    """\n' + "\n    # why\n    x = 1" * 40
    )
    assert len(too_large(text)) == 2
    assert too_large(text.replace(", g", "").replace("x = 1", "", 1)) == []
    assert too_large("class A:\n    def m(self, a, b, c, d, e, f): ...") == []
