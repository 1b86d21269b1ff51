"""The imports of a source file, read from its text."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    name: str | None
    line: int
    for_types: bool  # for the type checker alone


def walk_imports(node: ast.AST, package: str, for_types: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        now = for_types
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            now = True
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, None, child.lineno, now) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            yield from (Import(base, alias.name, child.lineno, now) for alias in child.names)
        else:
            yield from walk_imports(child, package, now)
