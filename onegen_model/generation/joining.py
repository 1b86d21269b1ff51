"""Adjoining passages of one document as one passage."""

import re
from collections.abc import Sequence
from dataclasses import replace

from onegen_model.events import Passage
from onegen_model.places import PassagePlace, Range, place_of, with_pieces, with_place

# The header and the rule of a Markdown table at the beginning of a piece.
_TABLE_HEAD = re.compile(r"\|?[^\n]*\|[^\n]*\n[ \t]*\|?[ \t:|-]*-[ \t:|-]*\n")


def join_passages(pieces: Sequence[Passage], hit: Passage) -> Passage:
    """The pieces, in order, as one passage with the id and the title of `hit`, one of them.

    What a piece repeats of those before it is left out: its overlap, its title, and the header of
    its table.
    """
    if len(pieces) == 1:
        return pieces[0]
    text = ""
    for before, piece in zip((None, *pieces), pieces, strict=False):
        text = piece.text if before is None else _continued(text, before, piece)
    joined = replace(hit, text=text)
    ids = tuple(piece.id for piece in pieces)
    place = place_of(hit)
    if place is None:
        return with_pieces(joined, ids)
    places = [place_of(piece) for piece in pieces]
    pages, lines, span = (_covered(places, name) for name in ("pages", "lines", "span"))
    return with_place(joined, replace(place, pieces=ids, pages=pages, lines=lines, span=span))


def _continued(text: str, before: Passage, piece: Passage) -> str:
    """`text`, which ends with that of `before`, with the text of the next piece."""
    break_, overlap = _break(before, piece)
    if overlap and text.endswith(piece.text[:overlap]):
        return text + piece.text[overlap:]
    new = piece.text
    if not _is_of_the_document(piece):  # Its splitter may have put something before it.
        new = _without_table_head(text, _without_common_lines(text, new))
    if new is piece.text:
        new = _with_own_title(before, piece)
    if new is not piece.text and break_ in ("", " "):
        break_ = "\n"
    return text + break_ + new


def _is_of_the_document(piece: Passage) -> bool:
    """Whether the text of a piece is known to be that of its document at its place."""
    place = place_of(piece)
    return bool(place and place.span and place.span[1] - place.span[0] == len(piece.text))


def _without_common_lines(text: str, new: str) -> str:
    """`new` without the lines with which `text` begins too: a title, or metadata."""
    lines = new.splitlines(keepends=True)
    same = 0
    while same < len(lines) - 1 and text.startswith("".join(lines[: same + 1])):
        same += 1
    return "".join(lines[same:]) if same else new


def _break(before: Passage, piece: Passage) -> tuple[str, int]:
    """What stood between two pieces, as far as it is known, and the length of their overlap."""
    first, second = place_of(before), place_of(piece)
    if first is None or second is None or first.span is None or second.span is None:
        return "\n", 0
    gap = second.span[0] - first.span[1]
    if gap <= 0:
        return ("", 0) if gap == 0 else ("\n", -gap)
    if first.lines and second.lines:
        rows = second.lines[0] - first.lines[1]
        return "\n" * min(rows, 2) or " ", 0
    return (" " if gap == 1 else "\n\n"), 0


def _with_own_title(before: Passage, piece: Passage) -> str:
    """The text of a piece, below its title where that is another one than before."""
    title = piece.title.strip()
    if not title or title == before.title.strip() or _begins_with(piece.text, title):
        return piece.text
    return f"{title}\n{piece.text}"


def _begins_with(text: str, title: str) -> bool:
    """Whether the first line is the title, or the last heading of it."""
    line = text.lstrip().partition("\n")[0].strip("# \t*=")
    return bool(line) and title.endswith(line)


def _without_table_head(text: str, new: str) -> str:
    head = _TABLE_HEAD.match(new)
    if head is None or head.group().rstrip() not in text:
        return new
    return new[head.end() :] or new


def _covered(places: Sequence[PassagePlace | None], name: str) -> Range | None:
    """The range from the first to the last of the ranges; None where one is unknown."""
    known: list[Range] = [range_ for one in places if one and (range_ := getattr(one, name))]
    if len(known) < len(places):
        return None
    return min(start for start, _ in known), max(end for _, end in known)
