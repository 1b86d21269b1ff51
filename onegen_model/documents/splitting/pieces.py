"""Pieces of a document, of which passages are put together."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from onegen_model.documents.splitting.sections import Section

_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document that stays together: characters `start` to `end`.

    `before` and `after` surround its text once more: the header of a table, the ends of a fence.
    `tokens` count all three. `is_heading`: a heading that has no text of its own. `section` is the
    section that the piece is.
    """

    start: int
    end: int
    text: str
    tokens: int
    before: str = ""
    after: str = ""
    is_heading: bool = False
    section: Section | None = None


def joined(pieces: Sequence[Piece], source: str) -> str:
    """The text of a passage: its pieces, apart as they are in the document, and not indented."""
    parts = [pieces[0].before, pieces[0].text]
    for last, piece in pairwise(pieces):
        goes_on = piece.before and (piece.before, piece.after) == (last.before, last.after)
        gap = _gap(source[last.end : piece.start]) or "\n" * (piece.start < last.end)
        parts += [gap, piece.text] if goes_on else [last.after, gap, piece.before, piece.text]
    text = _BLANK_LINES.sub("", "".join([*parts, pieces[-1].after])).rstrip()
    starts_a_line = source[pieces[0].start - 1 : pieces[0].start] in ("\n", "\r", "")
    return (textwrap.dedent(text) if starts_a_line else text).lstrip()


def _gap(between: str) -> str:
    if between.strip() or between.count("\n") > 1:
        return "\n\n"
    return "\n" if "\n" in between else between[:1]
