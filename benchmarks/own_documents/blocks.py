"""The text of documents that are converted: a small Markdown.

A block is a heading ("# …", "## …"), a list item ("- …"), a table ("| … |" lines), a note of the
speaker ("> …"), a page break ("<<page>>"), or a paragraph on one line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["heading", "item", "table", "note", "page", "paragraph"]
_MARKS: dict[str, Kind] = {"#": "heading", "- ": "item", "|": "table", "> ": "note"}


@dataclass(frozen=True, slots=True)
class Block:
    """`level` counts from 1 and is that of a heading; `rows` are those of a table."""

    kind: Kind
    text: str = ""
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


def parse(text: str) -> Iterator[Block]:
    lines = [line for line in text.splitlines() if line.strip()]
    for kind, some in groupby(lines, key=_kind):
        if kind == "table":
            rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in some]
            yield Block("table", rows=(rows[0], *rows[2:]))
        else:
            yield from (_block(kind, line) for line in some)


def _kind(line: str) -> Kind:
    if line == "<<page>>":
        return "page"
    return next((kind for mark, kind in _MARKS.items() if line.startswith(mark)), "paragraph")


def _block(kind: Kind, line: str) -> Block:
    level = len(line) - len(line.lstrip("#"))
    return Block(
        kind, line[level if level else 2 if kind in ("item", "note") else 0 :].strip(), level
    )
