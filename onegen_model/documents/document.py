"""A document: the text of a file, or of one record in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# How a text is read: where it may be cut, and what is a heading in it.
Syntax = Literal["text", "markdown", "code"]


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file, or of one record in it.

    `source` is the path of the file, with "/", relative to the root of the reading; `place` is the
    file, and line, that errors name. `first_line` is the line of the file at which the text begins,
    None for a text that was converted. `pages` are the positions in the text at which a page begins
    (none for a file without pages). `digest` identifies the content of the file. All of a text
    `on_one_line` comes from `first_line`, as that of a record does.
    """

    id: str
    text: str
    title: str
    source: str
    place: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    syntax: Syntax = "text"
    first_line: int | None = None
    pages: tuple[int, ...] = ()
    digest: str = ""
    on_one_line: bool = False
