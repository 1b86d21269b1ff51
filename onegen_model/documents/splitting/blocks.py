"""The blocks of a Markdown text, each with its range of characters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

Kind = Literal[
    "paragraph", "heading", "list", "item", "quote", "table", "fence", "code", "html", "rule"
]
Row = tuple[int, int, tuple[str, ...]]

_KINDS: dict[str, Kind] = {
    "paragraph_open": "paragraph",
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "list_item_open": "item",
    "blockquote_open": "quote",
    "table_open": "table",
    "fence": "fence",
    "code_block": "code",
    "html_block": "html",
    "hr": "rule",
}
# Link definitions are text like any other; the rule for them takes quadratic time.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable("reference")
_BLOCKS.core.ruler.enableOnly(["normalize", "block"])
_LINE_END = re.compile(r"\r\n|\r|\n")
# Characters that are parsed at once, to bound the memory.
_SLICE = 1_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """A block and its range in the text; ranges of neighbours touch, so that nothing is lost.

    `children` are the blocks of a list, an item or a quote. `content` is the text of a heading of
    `level`. `rows` are the start, the end and the cells of the rows of a table, header first;
    `body` the range inside a fence that `markup` and `info` open.
    """

    kind: Kind
    start: int
    end: int
    children: tuple["Block", ...] = ()
    content: str = ""
    level: int = 0
    rows: tuple[Row, ...] = ()
    markup: str = ""
    info: str = ""
    body: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class _Node:
    """A block that is being read; `first` and `last` are lines, the last one exclusive."""

    token: Token
    first: int
    last: int
    children: list["_Node"] = field(default_factory=list)
    content: str = ""
    rows: list[tuple[int, list[str]]] = field(default_factory=list)


def parse_blocks(text: str) -> Iterator[Block]:
    """The outermost blocks, in order; they cover the text but for white space in front."""
    start, size = 0, _SLICE
    while start < len(text):
        end = text.find("\n", start + size) + 1 or len(text)
        blocks = _parse(text, start, end)
        if end < len(text):
            # The last block may go on behind the slice.
            if len(blocks) < 2:
                size *= 2
                continue
            end = blocks.pop().start
        yield from blocks
        start, size = end, _SLICE


def _parse(text: str, start: int, end: int) -> list[Block]:
    part = text[start:end]
    nodes = _tree(_BLOCKS.parse(part))
    lines = [start, *(start + found.end() for found in _LINE_END.finditer(part)), end]
    return _partition(nodes, _Source(text, lines), end)


def _tree(tokens: Sequence[Token]) -> list[_Node]:
    tops: list[_Node] = []
    stack: list[_Node] = []
    for token in tokens:
        if token.type in _KINDS:
            first, last = token.map or (0, 0)
            node = _Node(token, first, last)
            (stack[-1].children if stack else tops).append(node)
            if token.nesting == 1:
                stack.append(node)
        elif token.nesting == -1 and token.type.replace("_close", "_open") in _KINDS:
            stack.pop()
        elif token.type == "tr_open" and token.map:
            stack[-1].rows.append((token.map[0], []))
        elif token.type == "inline" and stack[-1].rows:
            stack[-1].rows[-1][1].append(token.content)
        elif token.type == "inline":
            stack[-1].content = token.content
    return tops


@dataclass(frozen=True, slots=True)
class _Source:
    """A text and the positions at which its lines begin, and at which it ends."""

    text: str
    lines: list[int]

    def at(self, line: int) -> int:
        return self.lines[min(line, len(self.lines) - 1)]


def _partition(
    nodes: Sequence[_Node], source: _Source, end: int, start: int | None = None
) -> list[Block]:
    """Each node up to the next one, the first one from `start`."""
    if not nodes:
        return []
    starts = [source.at(node.first) for node in nodes]
    if start is not None:
        starts[0] = start
    return [
        _block(node, source, begins, ends)
        for node, begins, ends in zip(nodes, starts, [*starts[1:], end], strict=True)
    ]


def _block(node: _Node, source: _Source, start: int, end: int) -> Block:
    token, kind = node.token, _KINDS[node.token.type]
    return Block(
        kind,
        start,
        end,
        children=tuple(_partition(node.children, source, end, start)),
        content=node.content,
        level=int(token.tag[1]) if kind == "heading" else 0,
        rows=tuple(
            (source.at(line), source.at(line + 1), tuple(cells)) for line, cells in node.rows
        ),
        markup=token.markup,
        info=token.info,
        body=_body(node, source) if kind == "fence" else (0, 0),
    )


def _body(node: _Node, source: _Source) -> tuple[int, int]:
    """The range of the lines inside a fence, whose last line is missing in some."""
    closing = source.text[source.at(node.last - 1) : source.at(node.last)].lstrip(" \t>").strip()
    markup = node.token.markup
    is_closed = (
        node.last - node.first > 1 and len(closing) >= len(markup) and not closing.strip(markup[0])
    )
    return source.at(node.first + 1), source.at(node.last - is_closed)
