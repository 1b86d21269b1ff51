"""Splits documents into passages. The id of a passage is "<document id>#<n>"."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from onegen_model.documents.document import Document
from onegen_model.documents.splitting.cutting import Cutter
from onegen_model.documents.splitting.markdown import group_markdown, shortened
from onegen_model.documents.splitting.measure import Measure
from onegen_model.documents.splitting.pieces import joined
from onegen_model.documents.splitting.plain import cut_titled
from onegen_model.documents.splitting.titles import TITLE_SHARE, shorten
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.places import PassagePlace, Range

# Another number splits every document again: raise it when the pieces change.
_VERSION = 1


class PassageModel(Protocol):
    """The part of a model that a splitter needs."""

    @property
    def max_passage_tokens(self) -> int:
        """Longest passage, title included."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, as `max_passage_tokens` counts them."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """A passage before it has a place."""

    title: str
    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()


class PassageSplitter:
    """Splits documents into passages of at most `max_tokens` tokens, title included.

    Markdown is cut at headings, blocks and sentences: the title is the way through the headings,
    tables keep their header, and lists and code stay together where they fit. Other text is cut at
    paragraphs and sentences, code at definitions, blank lines and lines. `passage_text` is what
    the model reads of a passage (default: the title on a line of its own, and the text).
    """

    def __init__(
        self,
        count_tokens: Callable[[str], int],
        max_tokens: int,
        passage_text: Callable[[Passage], str] | None = None,
    ) -> None:
        if max_tokens < 1:
            raise InvalidInputError(f"max_tokens={max_tokens}; expected at least 1; raise it")
        self._measure = Measure(
            count_tokens, max_tokens, passage_text or (lambda passage: passage.titled_text)
        )

    @classmethod
    def for_model(cls, model: PassageModel, max_tokens: int | None = None) -> "PassageSplitter":
        """Passages that a model can embed; `max_tokens` for shorter ones."""
        template = getattr(model, "template", None)  # Absent in a model that only embeds.
        form = None if template is None else template.passage_text
        return cls(model.count_tokens, max_tokens or model.max_passage_tokens, form)

    @property
    def max_tokens(self) -> int:
        """Longest passage, title included."""
        return self._measure.max_tokens

    def split(self, document: Document) -> list[Passage]:
        """Passages with their places, in order; none for a text of white space or markup alone."""
        parts = list(self._parts(document))
        places = _Places(document, len(parts), self.max_tokens)
        return [places.passage(n, part) for n, part in enumerate(parts)]

    def _parts(self, document: Document) -> Iterator[_Part]:
        if document.syntax == "markdown":
            return self._markdown(document)
        title = shorten(document.title, self.max_tokens // TITLE_SHARE, self._measure)
        return (self._code if document.syntax == "code" else self._plain)(document.text, title)

    def _markdown(self, document: Document) -> Iterator[_Part]:
        source = document.text
        for group in group_markdown(source, document.title, self._measure):
            text = joined(group.pieces, source)
            start, end = group.pieces[0].start, group.pieces[-1].end
            headings = tuple(heading.text for heading in group.path)
            yield _Part(group.title, text, start, end, headings)

    def _plain(self, text: str, title: str) -> Iterator[_Part]:
        for start, end in cut_titled(text, title, self._measure):
            yield _Part(title, text[start:end], start, end)

    def _code(self, text: str, title: str) -> Iterator[_Part]:
        measure = self._measure
        cutter = Cutter(text, measure)
        span = cutter.trimmed(0, len(text))
        if span is None:
            return
        pieces = [cutter.piece(*span)]
        if measure.whole(title, pieces[0].text) > self.max_tokens:
            pieces = cutter.lines(*span, measure.room(title), ("definition", "blank", "line"))
        waiting = pieces[::-1]
        while waiting:
            piece = waiting.pop()
            excess = measure.whole(title, piece.text) - self.max_tokens
            parts = shortened(piece, excess, cutter) if excess > 0 else [piece]
            if len(parts) > 1:
                waiting += parts[::-1]
            else:
                yield _Part(title, piece.text, piece.start, piece.end)


class _Places:
    """Finds pages and lines of ranges in the text of a document."""

    def __init__(self, document: Document, chunks: int, max_tokens: int) -> None:
        self._document = document
        self._chunks = chunks
        self._digest = splitting_digest(document.digest, max_tokens)
        # Ranges ascend, so that each line is counted once.
        self._line, self._counted = document.first_line, 0

    def passage(self, number: int, part: _Part) -> Passage:
        document = self._document
        inside = document.text[part.start : part.end]
        start = part.start + len(inside) - len(inside.lstrip())
        end = max(start, part.start + len(inside.rstrip()))
        place = PassagePlace(
            document.source,
            document.id,
            number,
            self._chunks,
            headings=part.headings,
            pages=self._pages(start, end),
            lines=self._lines(start, end),
            span=(start, end),
            digest=self._digest,
        )
        metadata = {**document.metadata, **place.to_metadata()}
        return Passage(place.passage_id, part.text, part.title, metadata)

    def _lines(self, start: int, end: int) -> Range | None:
        if self._line is None:
            return None
        if self._document.on_one_line:
            return self._line, self._line
        text = self._document.text
        self._line += text.count("\n", self._counted, start)
        self._counted = start
        return self._line, self._line + text.count("\n", start, end)

    def _pages(self, start: int, end: int) -> Range | None:
        pages = self._document.pages
        if not pages:
            return None
        return max(bisect_right(pages, start), 1), max(bisect_left(pages, end), 1)


def splitting_digest(document_digest: str, max_tokens: int) -> str:
    """Identifies the content of a document and the way in which it is split; "" for unknown."""
    if not document_digest:
        return ""
    parts = f"{_VERSION}\n{max_tokens}\n{document_digest}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
