"""Cuts passages that are longer than the checkpoint reads them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from semantic_text_splitter import TextSplitter

from onegen_model.events import Passage
from onegen_model.places import place_of, with_place
from onegen_model.transcript.renderer import Renderer

logger = logging.getLogger(__name__)

# A title takes at most half of a passage; the rest is left for its text.
_TITLE_SHARE = 2
# Longer texts, in characters per token, are cut in steps, because splitting a book takes long.
_CHARACTERS = 32
# A piece of less than a half of the tokens takes in the beginning of the next paragraph.
_LEAST_SHARE = 2

_Count = Callable[[str], int]


def fit_passage(
    passage: Passage, renderer: Renderer, longest: int | None = None, fragment: int = 0
) -> Passage:
    """The passage itself, or what it has from one of its fragments on, at most `longest` tokens.

    `longest` None: `max_passage_tokens`. A warning names a passage that was cut.
    """
    longest = longest or renderer.max_passage_tokens
    if count_passage(passage, renderer) <= longest:
        return passage
    logger.warning(
        "Passage %r is longer than %d tokens and was cut; split the document into shorter "
        "passages, or raise `passage_tokens`",
        passage.id,
        longest,
    )
    if fragment:
        short, pieces = _cut(passage, renderer, renderer.max_passage_tokens)
        # None if the passage has changed since it was embedded.
        if (found := next(islice(pieces, fragment, None), None)) is not None:
            passage = _piece(short, found[0], short.text[found[0] :])
    return next(fragments(passage, renderer, longest))


def fragments(
    passage: Passage, renderer: Renderer, longest: int | None = None
) -> Iterator[Passage]:
    """The passage itself, or pieces of at most `longest` tokens, each with its id and title.

    They are cut between sentences or words where possible. A title of more than half of the tokens
    is cut first. `longest` None: `max_passage_tokens`.
    """
    most = longest or renderer.max_passage_tokens
    if count_passage(passage, renderer) <= most:
        yield passage
        return
    short, pieces = _cut(passage, renderer, most)
    for start, text in pieces:
        yield _piece(short, start, text)


def count_passage(passage: Passage, renderer: Renderer) -> int:
    """Tokens of a passage with its title, without its frame."""
    return len(renderer.text_ids(renderer.template.passage_text(passage)))


def _cut(
    passage: Passage, renderer: Renderer, most: int
) -> tuple[Passage, Iterator[tuple[int, str]]]:
    """The passage with a title that leaves room, and the pieces of its text."""
    title = _shorten(passage.title, most // _TITLE_SHARE, lambda text: len(renderer.text_ids(text)))
    short = replace(passage, title=title)

    def count(text: str) -> int:
        return count_passage(replace(short, text=text), renderer)

    return short, _pieces(passage.text, most, count)


def _shorten(title: str, most: int, count: _Count) -> str:
    return title if count(title) <= most else next(_pieces(title, most, count))[1]


def _pieces(text: str, most: int, count: _Count) -> Iterator[tuple[int, str]]:
    """Pieces with their positions; at least one."""
    # The splitter leaves out white space around a piece, and has none for white space alone.
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if start >= end:
        yield 0, ""
        return
    if count(text[start:end]) <= most:
        yield start, text[start:end]
        return
    splitter = TextSplitter.from_callback(count, most)
    while start < end:
        some = text[start : min(end, start + _CHARACTERS * most)]
        pieces = splitter.chunk_indices(some)
        if start + len(some) < end and len(pieces) > 1:
            pieces.pop()  # It may go on.
        begun, start = start, start + len(some)
        for at, piece in pieces:
            stop = begun + at + len(piece)
            if stop < end and count(piece) < most // _LEAST_SHARE:
                stop = max(stop, _filled(text[begun + at : end], splitter, most) + begun + at)
            stop = begun + at + _fitting(text[begun + at : stop], most, count)
            yield begun + at, text[begun + at : stop]
            if stop != begun + at + len(piece):
                start = stop
                break
            start = stop


def _filled(text: str, splitter: TextSplitter, most: int) -> int:
    """The length of a piece at the beginning of `text` that may end inside a paragraph."""
    # A heading before a long paragraph would be a piece by itself.
    flat = text[: _CHARACTERS * most].replace("\n", " ")
    return next((at + len(piece) for at, piece in splitter.chunk_indices(flat)), 0)


def _fitting(text: str, most: int, count: _Count) -> int:
    """How many characters of a piece fit. The splitter gives back one that is a little too long
    where a longer text has fewer tokens than its beginning."""
    length = len(text)
    while length > 1 and count(text[:length]) > most:
        at = text.rfind(" ", 1, length - 1)
        length = at if at > 0 else length - 1
    return length


def _piece(passage: Passage, start: int, text: str) -> Passage:
    """A part of a passage, whose place is known where its text is that of the document."""
    piece, place = replace(passage, text=text), place_of(passage)
    if place is None or place.span is None or place.span[1] - place.span[0] != len(passage.text):
        return piece
    span = (place.span[0] + start, place.span[0] + start + len(text))
    lines = place.lines
    if lines is not None:
        first = lines[0] + passage.text.count("\n", 0, start)
        lines = (first, first + text.count("\n"))
    return with_place(piece, replace(place, span=span, lines=lines))
