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
    """
    edges = _edges(tokens, size, overlap)
    shared = [
        _border(tokens, (first + last) // 2, first) for (_, last), (first, _) in pairwise(edges)
    ]
    windows = []
    for edge, core in zip(edges, pairwise([0, *shared, len(tokens)]), strict=True):
        start, end = (_character(tokens, at) for at in edge)
        begin, stop = (_character(tokens, at) for at in core)
        end = max([end, *(right for left, right in given if begin <= left < stop)])
        if tokens.text[start:end].strip():
            windows.append(Window(start, end, (begin, stop)))
    return windows


def _edges(tokens: TextTokens, size: int, overlap: int) -> list[Range]:
    """The ranges of tokens of all windows."""
    edges: list[Range] = []
    first = 0
    while first + size < len(tokens):
        last = _end(tokens, first, size)
        edges.append((first, last))
        first = _border(tokens, max(last - overlap, first + 1), first + 1)
    return [*edges, (first, len(tokens))]


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
    """Where a window that begins with token `first` ends: with a sentence, a word, or a token."""
    last = first + size
    for place in range(last, last - size // _SEARCHED, -1):
        begin = tokens.spans[place][0]
        if tokens.is_border(place) and _SENTENCE_END.search(tokens.text[begin - 2 : begin + 1]):
            return place
    for place in range(last, last - size // _SEARCHED, -1):
        if tokens.is_border(place) and tokens.text[tokens.spans[place][0]].isspace():
            return place
    return _border(tokens, last, first + 1)
