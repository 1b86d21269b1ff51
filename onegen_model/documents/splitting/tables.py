"""Cuts a table: rows stay whole, and every piece has the header."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from onegen_model.documents.splitting.blocks import Block, Row
from onegen_model.documents.splitting.measure import Measure
from onegen_model.documents.splitting.pieces import Piece
from onegen_model.documents.splitting.plain import cut_plain

# A repeated header takes at most this share of a piece; a wider one is written with each value.
_HEADER_SHARE = 2
_PADDING = re.compile(r" {2,}|(?<=-)-{3,}")


class Parts(Protocol):
    """What cuts the other blocks of the text."""

    @property
    def source(self) -> str: ...
    @property
    def measure(self) -> Measure: ...
    def piece(self, start: int, end: int) -> Piece: ...


def cut_table(parts: Parts, block: Block, room: int) -> list[Piece]:
    """Rows up to `room`, each time under the header; a row that is too long as "header: value"."""
    header, *rows = block.rows
    # The delimiter row is no row of cells: it ends where the first one begins.
    end = rows[0][0] if rows else block.end
    head = parts.source[block.start : end].rstrip()
    before = _PADDING.sub(lambda found: found.group()[0], head) + "\n"
    around = parts.measure.count(before)
    is_wide = around > room // _HEADER_SHARE
    if not rows:
        return _parts_of(parts, block.start, block.end, head, room)
    table = _Table(parts, header[2], room, before, around)
    pieces: list[Piece] = []
    for number, row in enumerate(rows):
        pieces += table.add(row, pieces, is_wide, names_all=number == 0)
    return pieces


@dataclass(frozen=True, slots=True)
class _Table:
    parts: Parts
    header: Sequence[str]
    room: int
    before: str
    around: int

    def add(self, row: Row, pieces: list[Piece], is_wide: bool, names_all: bool) -> list[Piece]:
        """The pieces of a row; none where the last piece has taken it in."""
        start, end, cells = row
        line = self.parts.source[start:end].rstrip()
        tokens = self.parts.measure.estimate(line)
        if is_wide or tokens + self.around > self.room:
            return self._values(start, start + len(line), cells, names_all and is_wide)
        last = pieces[-1] if pieces else None
        if last is not None and last.before and last.tokens + tokens < self.room:
            text = self.parts.source[last.start : start + len(line)]
            pieces[-1] = Piece(
                last.start, start + len(line), text, last.tokens + tokens + 1, self.before
            )
            return []
        return [Piece(start, start + len(line), line, tokens + self.around, self.before)]

    def _values(self, start: int, end: int, cells: Sequence[str], names_all: bool) -> list[Piece]:
        """Lines "header: value", as many as fit in each piece."""
        lines = list(self._lines(start, end, cells, names_all))
        groups: list[tuple[str, int]] = []
        for line, tokens in lines:
            if groups and groups[-1][1] + tokens < self.room:
                groups[-1] = (f"{groups[-1][0]}\n{line}", groups[-1][1] + tokens + 1)
            else:
                groups.append((line, tokens))
        return [Piece(start, end, text, tokens) for text, tokens in groups]

    def _lines(
        self, start: int, end: int, cells: Sequence[str], names_all: bool
    ) -> Iterator[tuple[str, int]]:
        named = [*zip(self.header, cells, strict=False), *self._excess(start, end, cells)]
        for name, value in named:
            if value or (names_all and name):
                yield from self._cell(name, value)

    def _excess(self, start: int, end: int, cells: Sequence[str]) -> list[tuple[str, str]]:
        """Cells of a row that has more of them than the header."""
        row = self.parts.source[start:end]
        at = 0
        for cell in cells:
            found = row.find(cell.replace("|", "\\|"), at)
            at = found + len(cell) if found >= 0 else at
        rest = row[at:].strip(" \t|")
        return [("", rest)] if len(cells) == len(self.header) and rest else []

    def _cell(self, name: str, value: str) -> Iterator[tuple[str, int]]:
        measure = self.parts.measure
        line = f"{name}: {value}".strip() if name else value
        tokens = measure.estimate(line)
        if tokens <= self.room:
            yield line, tokens
            return
        prefix = f"{name}: " if name else ""
        taken = measure.count(prefix)
        if taken > self.room // _HEADER_SHARE:
            prefix, taken, value = "", 0, line
        for first, last in cut_plain(value, self.room - taken, measure):
            part = prefix + value[first:last]
            yield part, measure.count(part)


def _parts_of(parts: Parts, start: int, end: int, text: str, room: int) -> list[Piece]:
    spans = cut_plain(text, room, parts.measure)
    return [parts.piece(start + first, start + last) for first, last in spans]
