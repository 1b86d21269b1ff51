"""Cuts a block that is longer than a passage, by its kind."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onegen_model.documents.splitting.blocks import Block
from onegen_model.documents.splitting.measure import Measure
from onegen_model.documents.splitting.pieces import Piece
from onegen_model.documents.splitting.plain import Span, cut_plain
from onegen_model.documents.splitting.tables import cut_table

# Where lines may be parted: before an unindented line behind blank ones, at blank lines, anywhere.
Break = Literal["definition", "blank", "line"]
_CLOSERS = (")", "]", "}")


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts blocks of one text into pieces."""

    source: str
    measure: Measure

    def cut(self, block: Block, room: int) -> list[Piece]:
        """Pieces of at most `room` tokens; a block that fits is one."""
        span = self.trimmed(block.start, block.end)
        if span is None or block.kind == "rule":
            return []
        piece = self.piece(*span)
        if piece.tokens <= room:
            return [piece]
        if block.kind == "paragraph" or block.kind == "heading":
            return self.sentences(*span, room)
        if block.kind == "table":
            return cut_table(self, block, room)
        if block.kind == "fence":
            return self._cut_fence(block, room)
        if block.children:
            return [piece for child in block.children for piece in self.cut(child, room)]
        return self.lines(*span, room, ("blank", "line"))

    def piece(self, start: int, end: int) -> Piece:
        """The characters of a range, as they are."""
        text = self.source[start:end]
        return Piece(start, end, text, self.measure.estimate(text))

    def trimmed(self, start: int, end: int) -> Span | None:
        """A range without blank lines around it; its first line stays indented. None if blank."""
        text = self.source[start:end]
        core = text.strip()
        if not core:
            return None
        first = len(text) - len(text.lstrip())
        indent = max(text.rfind("\n", 0, first), text.rfind("\r", 0, first)) + 1
        return start + indent, start + first + len(core)

    def sentences(self, start: int, end: int, room: int) -> list[Piece]:
        """A paragraph in sentences, and a sentence in words where it is too long."""
        spans = cut_plain(self.source[start:end], room, self.measure)
        return [self.piece(start + first, start + last) for first, last in spans]

    def recut(self, piece: Piece, room: int) -> list[Piece]:
        """A piece in shorter ones, each surrounded by the same again."""
        around = self.measure.count(piece.before + piece.after) if piece.before else 0
        spans = cut_plain(piece.text, room - around, self.measure)
        if piece.text != self.source[piece.start : piece.end]:  # No part has a range of its own.
            return [
                replace(piece, text=piece.text[a:b], tokens=self.measure.count(piece.text[a:b]))
                for a, b in spans
            ]
        parts = [self.piece(piece.start + first, piece.start + last) for first, last in spans]
        return [self._surround(part, piece.before, piece.after, around) for part in parts]

    def lines(self, start: int, end: int, room: int, breaks: Sequence[Break]) -> list[Piece]:
        """Lines that stay together up to `room`, parted at the first kind of break that helps."""
        if not breaks:
            return self.sentences(start, end, room)
        found: list[Piece] = []
        is_open = False
        for first, last in self._parts(start, end, breaks[0]):
            piece = self.piece(first, last)
            if piece.tokens > room:
                found += self.lines(first, last, room, breaks[1:])
                is_open = False
            elif is_open and found[-1].tokens + piece.tokens < room:
                tokens = found[-1].tokens + piece.tokens + 1
                begin = found[-1].start
                found[-1] = Piece(begin, last, self.source[begin:last], tokens)
            else:
                found.append(piece)
                is_open = True
        return found

    def _parts(self, start: int, end: int, at: Break) -> Iterator[Span]:
        begin: int | None = None
        last, was_blank = start, False
        for first, line in self._split_lines(start, end):
            if not line.strip():
                was_blank = True
                continue
            if begin is not None and _parts_at(line, was_blank, at):
                yield begin, last
                begin = None
            begin = first if begin is None else begin
            last, was_blank = first + len(line.rstrip()), False
        if begin is not None:
            yield begin, last

    def _split_lines(self, start: int, end: int) -> Iterable[tuple[int, str]]:
        while start < end:
            stop = self.source.find("\n", start, end)
            stop = end if stop < 0 else stop
            yield start, self.source[start:stop]
            start = stop + 1

    def _cut_fence(self, block: Block, room: int) -> list[Piece]:
        before, after = f"{block.markup}{block.info}\n", f"\n{block.markup}"
        around = self.measure.count(before + after)
        if around > room // 3:
            return self.lines(block.start, block.end, room, ("blank", "line"))
        pieces = self.lines(*block.body, room - around, ("blank", "line"))
        return [self._surround(piece, before, after, around) for piece in pieces]

    @staticmethod
    def _surround(piece: Piece, before: str, after: str, tokens: int) -> Piece:
        return replace(piece, before=before, after=after, tokens=piece.tokens + tokens)


def _parts_at(line: str, is_behind_blank: bool, at: Break) -> bool:
    if at == "line" or not is_behind_blank:
        return at == "line"
    return at == "blank" or not (line[0].isspace() or line.startswith(_CLOSERS))
