"""Cuts a text into windows that fit the context, and says which mention is taken from which."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from onegen_model.transcript.text_tokens import Range, TextTokens

# A window ends with a sentence where one ends in its last third.
_SEARCHED = 3
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"\u201d\u2019')\]]*\s|\n")


@dataclass(frozen=True, slots=True)
class Window:
    """The characters `start` to `end` of a text; it gives the mentions that begin in `core`."""

    start: int
    end: int
    core: Range


def cut_windows(
    tokens: TextTokens, size: int, overlap: int, given: Sequence[Range] = ()
) -> list[Window]:
    """Windows of at most `size` tokens, each of which begins `overlap` tokens before the end of the
    one before. `given` are mentions, in characters: no window ends inside of one that begins in its
    core.

    Windows begin and end at borders. A grapheme that is longer than a window is in none of them.
    """
    edges = _edges(tokens, size, overlap)
    shared = [
        _border(tokens, (first + last) // 2, first) for (_, last), (first, _) in pairwise(edges)
    ]
    windows = []
    places = [0, *shared, len(tokens)] if edges else [0]
    for edge, core in zip(edges, pairwise(places), strict=True):
        start, end = (_character(tokens, at) for at in edge)
        begin, stop = (_character(tokens, at) for at in core)
        end = max([end, *(right for left, right in given if begin <= left < stop)])
        if tokens.text[start:end].strip():
            windows.append(Window(start, end, (begin, stop)))
    return windows


def _edges(tokens: TextTokens, size: int, overlap: int) -> list[Range]:
    """The ranges of tokens of all windows."""
    edges: list[Range] = []
    first = done = 0
    while first < len(tokens):
        behind = tokens.next_border(first)
        if behind - first > size:
            first = behind
            continue
        last = _end(tokens, first, size)
        if last <= done:  # All of it is in the window before.
            first = done
            continue
        edges.append((first, last))
        if last == len(tokens):
            break
        done = last
        first = _border(tokens, max(last - overlap, first + 1), first + 1)
    return edges


def _character(tokens: TextTokens, at: int) -> int:
    """Where token `at` begins; the text's own edges belong to the first and the last window."""
    if at in (0, len(tokens)):
        return len(tokens.text) if at else 0
    return tokens.spans[at][0]


def _border(tokens: TextTokens, at: int, least: int) -> int:
    """The nearest border at or before token `at`, at or behind `least`, or else behind it."""
    for place in chain(range(at, least - 1, -1), range(at + 1, len(tokens))):
        if tokens.is_border(place):
            return place
    return len(tokens)


def _end(tokens: TextTokens, first: int, size: int) -> int:
    """Where a window that begins with token `first` ends: with the text, a sentence, a word, or a
    token. There is a border in the window."""
    last = first + size
    if last >= len(tokens):
        return len(tokens)
    borders = [place for place in range(last, first, -1) if tokens.is_border(place)]
    for place in borders:
        begin = tokens.spans[place][0]
        before = tokens.text[max(0, begin - 2) : begin + 1]
        if place > last - size // _SEARCHED and _SENTENCE_END.search(before):
            return place
    for place in borders:
        begin = tokens.spans[place][0]
        if place > last - size // _SEARCHED and tokens.text[begin : begin + 1].isspace():
            return place
    return borders[0]
