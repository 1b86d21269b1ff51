"""Written text, while it streams, told apart: what leads to the answer, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.transcript.detokenizer import overlap
from onegen_model.transcript.template import Template
from onegen_model.transcript.tool_calls import InvalidToolCall, Piece, ToolCall, ToolCallParser


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of what the model wrote outside of the answer frame."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of the answer: no frame, no space around it."""

    text: str


Part = StepText | AnswerText | ToolCall | InvalidToolCall


class PartStream:
    """Text of `Token` events in, parts out; their sums are the steps' text and the answer's.

    The first frame holds the answer; without a `template` (under a grammar) nothing is one.
    `opening` is what an unfinished answer began with; it is not told. Calls of tools are found if
    there are any.

    After the last `end_span` either `answer` or `unframed` is the answer that `Template.parse`
    finds in the same spans: without a frame it is what was written after the last insertion.
    """

    def __init__(
        self, template: Template | None, opening: str = "", *, with_tools: bool = False
    ) -> None:
        self._frame = [template.answer_start, template.answer_end] if template else []
        self._calls = ToolCallParser() if with_tools else None
        self._held = self._space = self._span = ""
        self.has_frame = False
        self.answer = self.unframed = ""
        self.feed(opening)
        self._span = ""

    def feed(self, text: str) -> list[Part]:
        """Parts that became certain."""
        return self._split(self._calls.feed(text) if self._calls else [text])

    def end_span(self) -> list[Part]:
        """Passages come, or nothing: what was held back is text."""
        parts = self._split(self._calls.flush() if self._calls else [])
        held, self._held = self._held, ""
        parts += self._tell(held)
        self.unframed, self._span = "" if self.has_frame else self._span.strip(), ""
        if self.has_frame:
            self._frame = []  # one that is still open ends with its span
        return parts

    def _split(self, pieces: Sequence[Piece]) -> list[Part]:
        parts: list[Part] = []
        for piece in pieces:
            parts += self._find_frame(piece) if isinstance(piece, str) else [piece]
        return parts

    def _find_frame(self, text: str) -> list[Part]:
        text, parts = self._held + text, list[Part]()
        self._held = ""
        while self._frame and (at := text.find(self._frame[0])) >= 0:
            parts += self._tell(text[:at])
            text = text[at + len(self._frame.pop(0)) :]
            self.has_frame = True
            if not self._frame:
                self._space = ""
        keep = overlap(text, self._frame[0]) if self._frame else 0
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return parts + self._tell(text)

    def _tell(self, text: str) -> list[Part]:
        if len(self._frame) != 1:
            self._span += text
            return [StepText(text)] if text else []
        text = self._space + text if self.answer else text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        self.answer += shown
        return [AnswerText(shown)] if shown else []
