"""One answer as it is written: events of the core become the pieces that every route sends.

Sans-I/O: no request, no JSON. The text of an answer is what stands in its answer frame; what the
model writes on the way is reasoning. Offsets are characters of the answer's text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from onegen_model import (
    Answer,
    AnswerText,
    Citation,
    Event,
    InvalidToolCall,
    Part,
    PartStream,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    Template,
    Token,
    ToolCall,
    Usage,
)


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """Text that leads to the answer: what the model wrote before and between its searches."""

    text: str


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer; `tokens` are those of it, where log-probabilities were asked for."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchBegun:
    """The model searches for `query`; `hop` counts the searches of the answer from 0."""

    hop: int
    query: str


@dataclass(frozen=True, slots=True)
class SearchEnded:
    """What was inserted; `reason` says why nothing was found."""

    hop: int
    query: str
    passages: tuple[ScoredPassage, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CitedSpan:
    """`start` to `end` of the answer rest on a passage.

    `text` is the cited text of the passage, where the answer stands in it word for word.
    """

    start: int
    end: int
    citation: Citation
    text: str = ""


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The last piece."""

    reason: str
    usage: Usage


AnswerPiece = (
    ReasoningPiece
    | TextPiece
    | SearchBegun
    | SearchEnded
    | ToolCall
    | InvalidToolCall
    | CitedSpan
    | AnswerEnded
)


@dataclass(slots=True)
class AnswerPieces:
    """Feed every event, then `close`. Without a `template` (under a grammar) all text is answer.

    `opening` is the text of an unfinished answer that is continued; it is in no piece. Where
    another request of the core continues the answer, call `end_span` and `resume` between the two.
    """

    template: Template | None
    offers_tools: bool = False
    opening: str = ""
    text: str = field(init=False, default="")
    calls: int = field(init=False, default=0)
    _parts: PartStream = field(init=False)
    _query: str = field(init=False, default="")
    _found: dict[str, ScoredPassage] = field(init=False, default_factory=dict)
    _has_ended: bool = field(init=False, default=False)
    # Tokens whose text is in no piece yet.
    _held: list[Token] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._parts = PartStream(self.template, self.opening, with_tools=self.offers_tools)

    def feed(self, event: Event) -> list[AnswerPiece]:
        """Pieces that became certain with an event."""
        match event:
            case Token():
                return self._read(event)
            case RetrievalRequested():
                self._query = event.text
                held = self._pieces(self._parts.end_span())
                return [*held, SearchBegun(event.hop, event.text)]
            case PassagesInserted():
                self._held.clear()
                self._found |= {one.passage.id: one for one in event.passages}
                return [SearchEnded(event.hop, self._query, event.passages, event.reason)]
        return []

    def end_span(self) -> list[AnswerPiece]:
        """Pieces that were held back, at the end of the written text."""
        self._has_ended = True
        return self._pieces(self._parts.end_span())

    def resume(self, opening: str) -> None:
        """Another request goes on behind `opening`, which it has read; it is in no piece."""
        self._has_ended = False
        self._held.clear()
        self._parts.feed(opening)

    def resume_constrained(self, *, offers_tools: bool) -> None:
        """Another request goes on under a grammar."""
        self._has_ended, self.template = False, None
        self._held.clear()
        self._parts = PartStream(None, with_tools=offers_tools)

    def close(self, answer: Answer) -> list[AnswerPiece]:
        """The last pieces: held text, citations, and the end."""
        pieces = [] if self._has_ended else self.end_span()
        is_framed = self.template is None or self._parts.has_frame
        if not is_framed and not self.calls and (unframed := self._parts.unframed):
            self.text = unframed
            pieces.append(TextPiece(unframed, self._release(unframed)))
        pieces += self._cited(answer.sources)
        return [*pieces, AnswerEnded(answer.finish_reason, answer.usage)]

    def _read(self, token: Token) -> list[AnswerPiece]:
        had_frame = self._parts.has_frame
        parts = self._parts.feed(token.text)
        if self._parts.has_frame and not had_frame:
            self._held.clear()  # They lead to the answer.
            if not any(isinstance(part, AnswerText) for part in parts):
                return self._pieces(parts)
        if token.logprob is not None:
            self._held.append(token)
        return self._pieces(parts)

    def _release(self, text: str) -> tuple[Token, ...]:
        """The tokens of `text`, which ends among those that are held."""
        held = self._held
        begin = "".join(token.text for token in held).find(text)
        end, at = begin + len(text) if begin >= 0 else sum(len(one.text) for one in held), 0
        count = 0
        while count < len(held) and at < end:
            at += len(held[count].text)
            count += 1
        self._held = held[count:]
        return tuple(held[:count])

    def _pieces(self, parts: Sequence[Part]) -> list[AnswerPiece]:
        return [self._piece(part) for part in parts]

    def _piece(self, part: Part) -> AnswerPiece:
        if isinstance(part, ToolCall | InvalidToolCall):
            self.calls += 1
            return part
        if isinstance(part, AnswerText) or self.template is None:
            self.text += part.text
            return TextPiece(part.text, self._release(part.text))
        return ReasoningPiece(part.text)

    def _cited(self, sources: Sequence[Citation]) -> list[CitedSpan]:
        """Every passage that was read, for the whole answer: which sentence rests on which passage
        the model does not say."""
        if not self.text:
            return []
        spans = []
        for source in sources:
            found = self._found.get(source.passage_id)
            quoted = self.text if found and self.text in found.passage.titled_text else ""
            spans.append(CitedSpan(0, len(self.text), source, quoted))
        return spans
