"""The tree of sections that the headings of a Markdown text make."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from onegen_model.documents.splitting.blocks import Block

_INLINE = MarkdownIt("commonmark")
# A longer heading is text: it is not searched for emphasis and links.
_LONGEST_HEADING = 500
# What says nothing alone: an empty item, the end of a quote.
MARKUP = re.compile(r"[\s>*+#|:=_~`-]*")
_MARKUP = re.compile(r"[\s*_`~\\#]+")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, as plain text. `is_plain`: the text leaves out nothing but emphasis."""

    level: int
    text: str
    start: int
    end: int
    is_plain: bool = True


@dataclass(slots=True)
class Section:
    """A heading, the blocks under it, and the sections inside; the root has no heading.

    It ends at `end`, and its text behind the heading begins at `body`.
    """

    heading: Heading | None
    start: int
    body: int
    end: int = 0
    blocks: list[Block] = field(default_factory=list)
    children: list["Section"] = field(default_factory=list)
    has_text: bool = False

    @property
    def has_parts(self) -> bool:
        """Whether its text lies under more than one heading, or beside another one."""
        texts = [child for child in self.children if child.has_text]
        parts = len(texts) + bool(self.blocks)
        return parts > 1 or any(child.has_parts for child in texts)

    def headings(self) -> Iterator[Heading]:
        """Its heading and those inside, in order."""
        if self.heading is not None:
            yield self.heading
        for child in self.children:
            yield from child.headings()


def section_tree(blocks: Iterable[Block], text: str) -> Section:
    """The root of the sections of a text."""
    root = Section(None, 0, 0)
    stack = [root]
    for block in blocks:
        if block.kind == "heading":
            while stack[-1].heading is not None and stack[-1].heading.level >= block.level:
                _close(stack, block.start)
            section = Section(to_heading(block), block.start, block.end)
            stack[-1].children.append(section)
            stack.append(section)
        elif not _is_blank(block, text):
            stack[-1].blocks.append(block)
    while stack:
        _close(stack, len(text))
    return root


def _close(stack: list[Section], end: int) -> None:
    section = stack.pop()
    section.end = end
    section.has_text = bool(section.blocks) or any(one.has_text for one in section.children)


def _is_blank(block: Block, text: str) -> bool:
    """Whether a block is nothing but markup."""
    start, end = block.body if block.kind == "fence" else (block.start, block.end)
    return block.kind == "rule" or MARKUP.fullmatch(text, start, end) is not None


def to_heading(block: Block) -> Heading:
    """The heading of a block."""
    raw = " ".join(block.content.split())
    if len(raw) > _LONGEST_HEADING:
        return Heading(block.level, raw, block.start, block.end)
    text = " ".join(_plain(_INLINE.parseInline(raw)[0].children or []).split())
    is_plain = _MARKUP.sub("", raw) == _MARKUP.sub("", text)
    return Heading(block.level, text, block.start, block.end, is_plain)


def _plain(tokens: Iterable[Token]) -> str:
    return "".join(
        _plain(token.children) if token.children else token.content
        for token in tokens
        if token.type != "html_inline"
    )
