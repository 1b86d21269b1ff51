"""Linked texts for programs and for people: JSON, and text with marks and a table."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onegen_model.linking.entities import entity_name
from onegen_model.linking.mentions import LinkedText, Mention

_GAP = "  "
_WIDEST = 40  # of a cell, in columns of a terminal
_HEADER = ("", "mention", "entity", "id", "score")
_NOT_NUMBERS = 4  # columns before the score


@dataclass(frozen=True, slots=True)
class LinkedDocument:
    """A linked text and where it comes from; `source` is None for a text that has no file."""

    id: str
    source: str | None
    linked: LinkedText

    @property
    def name(self) -> str:
        """Its source and, where that says more, its id."""
        if self.source is None or self.id.startswith(self.source):
            return self.id
        return f"{self.source}: {self.id}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of the linked text, and its source."""
        return {"source": self.source, "id": self.id, **self.linked.to_dict()}


def marked_text(linked: LinkedText) -> str:
    """The text with each mention as [surface](number), counted from 1."""
    parts, done = [], 0
    for number, one in enumerate(linked.mentions, 1):
        parts += [linked.text[done : one.start], f"[{one.surface}]({number})"]
        done = one.end
    return "".join([*parts, linked.text[done:]])


def mention_table(mentions: Sequence[Mention]) -> list[str]:
    """A line for each mention: its number, surface, entity, id and score, under a header."""
    if not mentions:
        return ["(no mentions)"]
    rows = [_HEADER, *(_row(number, one) for number, one in enumerate(mentions, 1))]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(_cells(row, widths)).rstrip() for row in rows]


def format_text(document: LinkedDocument, *, named: bool) -> str:
    """A text with its mentions marked, and their table; `named`: under its name."""
    lines = [f"== {_one_line(document.name)} =="] if named else []
    text = marked_text(document.linked).removesuffix("\n")
    lines += [text, "", *mention_table(document.linked.mentions)]
    return "\n".join([*lines, ""])


def _row(number: int, mention: Mention) -> tuple[str, ...]:
    entity = mention.entity.passage if mention.entity else None
    return (
        str(number),
        _cell(mention.surface),
        _cell(entity_name(entity)) if entity else "(no entity)",
        _one_line(entity.id) if entity else "",  # whole, to be copied
        "" if mention.score is None else f"{mention.score:.3f}",
    )


def _cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The cells of a row, padded; numbers to the right."""
    cells = []
    for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
        room = " " * (width - _width(cell))
        cells.append(cell + room if 0 < at < _NOT_NUMBERS else room + cell)
    return cells


def _cell(text: str) -> str:
    line = _one_line(text)
    if _width(line) <= _WIDEST:
        return line
    while _width(line) >= _WIDEST:
        line = line[: min(len(line) - 1, _WIDEST)]
    return f"{line}…"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _width(text: str) -> int:
    """Columns of a terminal: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )
