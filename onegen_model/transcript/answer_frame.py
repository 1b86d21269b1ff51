"""Written text, split into what leads to the answer and the answer, without any markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.transcript.detokenizer import overlap


@dataclass(frozen=True, slots=True)
class FramePiece:
    """A piece of written text. `is_answer`: it was written in the answer frame."""

    text: str
    is_answer: bool


class FrameSplitter:
    """Written text in, pieces without markup out; the first frame holds the answer.

    Removed are both ends of every frame, and the beginning of one at the end of a span. A frame
    that is still open ends with its span. A line break takes the place of a mark, except beside
    white space outside the frame; white space around the answer is removed.
    """

    def __init__(self, start: str, end: str) -> None:
        self._start, self._end = start, end
        self._marks = [mark for mark in (start, end) if mark]
        longest_first = sorted(map(re.escape, self._marks), key=len, reverse=True)
        self._pattern = re.compile("|".join(longest_first) or r"(?!)")
        self._held = self._space = ""
        self._answer_has_text = self._breaks = self._is_in_line = self._is_inside = False
        self.has_frame = False

    @property
    def is_open(self) -> bool:
        """Whether the answer frame has begun and not ended."""
        return self._is_inside

    @property
    def held(self) -> str:
        """The end of the text, while it may be the beginning of a mark."""
        return self._held

    def feed(self, text: str) -> list[FramePiece]:
        """Pieces that became certain with `text`."""
        text, at = self._held + text, 0
        pieces: list[FramePiece] = []
        for found in self._pattern.finditer(text):
            pieces += self._show(text[at : found.start()])
            self._cross(found[0])
            at = found.end()
        end = len(text) - max((overlap(text[at:], mark) for mark in self._marks), default=0)
        self._held = text[end:]
        return pieces + self._show(text[at:end])

    def end_span(self) -> list[FramePiece]:
        """The rest of a span: the held text, unless it is the beginning of a mark."""
        held, self._held = self._held, ""
        pieces = [] if self._is_cut_mark(held) else self._show(held)
        self._is_inside = self._breaks = self._is_in_line = False
        self._space = ""
        return pieces

    def _cross(self, mark: str) -> None:
        if self._is_inside:
            self._is_inside = mark != self._end
        elif mark == self._start and not self.has_frame:
            self._is_inside = self.has_frame = True
        self._breaks = True
        if not self._is_inside:
            self._space = ""

    def _is_cut_mark(self, held: str) -> bool:
        """Whether the end of a span is markup: one character may be text, a word as well."""
        return len(held) > 1 and not held[0].isalnum()

    def _show(self, text: str) -> list[FramePiece]:
        shown = self._strip(text) if self._is_inside else self._break_line(text)
        return [FramePiece(shown, self._is_inside)] if shown else []

    def _strip(self, text: str) -> str:
        if text:
            text = "\n" * (self._breaks and self._answer_has_text) + text
            self._breaks = False
        text = self._space + text if self._answer_has_text else text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        self._answer_has_text = self._answer_has_text or bool(shown)
        return shown

    def _break_line(self, text: str) -> str:
        if not text:
            return ""
        if self._breaks and self._is_in_line and not text[0].isspace():
            text = f"\n{text}"
        self._breaks, self._is_in_line = False, not text[-1].isspace()
        return text


def split_frame(start: str, end: str, spans: Sequence[str]) -> tuple[list[str], str | None]:
    """(text of each span outside the frame, text in it or None where there is no frame)."""
    splitter = FrameSplitter(start, end)
    outside, answer = [], ""
    for span in spans:
        pieces = [*splitter.feed(span), *splitter.end_span()]
        outside.append("".join(piece.text for piece in pieces if not piece.is_answer))
        answer += "".join(piece.text for piece in pieces if piece.is_answer)
    return outside, answer if splitter.has_frame else None
