"""Splits documents into passages. The id of a passage is "<document id>#<n>"."""

import re
from collections.abc import Callable, Sequence

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from onegen_model.documents.document import Document
from onegen_model.events import Passage
from onegen_model.places import PassagePlace

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
# A text with more characters per token is cut without counting its tokens.
_CHARS_PER_TOKEN = 64
# The splitter takes quadratic time for a text without line breaks.
_SLICE = 200_000


def split(document: Document, count_tokens: Callable[[str], int], max_tokens: int) -> list[Passage]:
    """Passages of at most `max_tokens` tokens, title included; a short document stays whole."""
    title = _shorten(document.title, count_tokens, max_tokens // 3)
    head = f"{title}\n" if title else ""

    def count(text: str) -> int:
        if len(text) > max_tokens * _CHARS_PER_TOKEN:
            return max_tokens + 1
        return count_tokens(text)

    whole = document.text.strip()
    texts, capacity = [whole], max_tokens - count(head)
    # Tokens of a title and of a text do not always add up, so both are counted together.
    while capacity > 0 and any(count(head + text) > max_tokens for text in texts):
        texts = _chunks(whole, count, capacity, document.syntax == "markdown")
        capacity = min(capacity - 1, capacity * 9 // 10)
    return [
        Passage(
            f"{document.id}#{n}",
            text,
            title,
            {**document.metadata, **_place(document, n, len(texts)).to_metadata()},
        )
        for n, text in enumerate(texts)
    ]


def _place(document: Document, chunk: int, chunks: int) -> PassagePlace:
    return PassagePlace(document.source, document.id, chunk, chunks, digest=document.digest)


def _shorten(title: str, count_tokens: Callable[[str], int], max_tokens: int) -> str:
    words = title[: max_tokens * _CHARS_PER_TOKEN].split()
    while words and count_tokens(" ".join(words)) > max_tokens:
        words = words[: len(words) * 3 // 4]
    return " ".join(words)


def _chunks(text: str, count: Callable[[str], int], capacity: int, is_markdown: bool) -> list[str]:
    kind = MarkdownSplitter if is_markdown else TextSplitter
    splitter = kind.from_callback(count, capacity)
    chunks = [chunk for part in _slices(text) for chunk in splitter.chunks(part)]
    if not is_markdown:
        return chunks
    # A heading alone is retrieved for questions about it and answers none.
    return [chunk for chunk in chunks if _HEADING.sub("", chunk).strip()] or chunks


def _slices(text: str) -> Sequence[str]:
    slices = []
    while len(text) > _SLICE:
        cuts = (text.rfind(mark, _SLICE // 2, _SLICE) for mark in ("\n\n", "\n", " "))
        cut = next((cut for cut in cuts if cut > 0), _SLICE)
        slices.append(text[:cut])
        text = text[cut:]
    return [*slices, text]
