"""Cuts text at paragraphs, lines, sentences and words, and at characters last."""

from collections.abc import Iterator

from semantic_text_splitter import TextSplitter

from onegen_model.documents.splitting.measure import Measure

Span = tuple[int, int]

# The splitter takes quadratic time for a text without line breaks.
_SLICE = 200_000


def cut_plain(text: str, room: int, measure: Measure) -> list[Span]:
    """Spans of at most `room` tokens, without the white space around them."""
    splitter = TextSplitter.from_callback(measure.count, max(room, 1))
    return [
        (start + at, start + at + len(chunk))
        for start, part in _slices(text)
        for at, chunk in splitter.chunk_indices(part)
    ]


def cut_titled(text: str, title: str, measure: Measure) -> list[Span]:
    """Spans that fit a passage together with its title."""
    return [
        (start + first, start + last)
        for start, part in _slices(text)
        for first, last in _fit(part, title, measure)
    ]


def _fit(text: str, title: str, measure: Measure) -> list[Span]:
    spans, room = stripped(text, 0, len(text)), measure.room(title)
    # Tokens of a title and of a text do not always add up, so both are counted together.
    while room > 0 and any(measure.whole(title, text[a:b]) > measure.max_tokens for a, b in spans):
        spans = cut_plain(text, room, measure)
        room = min(room - 1, room * 9 // 10)
    return spans


def stripped(text: str, start: int, end: int) -> list[Span]:
    """The span without the white space around its text; none without text."""
    part = text[start:end]
    start, length = start + len(part) - len(part.lstrip()), len(part.strip())
    return [(start, start + length)] if length else []


def _slices(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while len(text) - start > _SLICE:
        cuts = (
            text.rfind(mark, start + _SLICE // 2, start + _SLICE) for mark in ("\n\n", "\n", " ")
        )
        cut = next((cut for cut in cuts if cut > 0), start + _SLICE)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]
