"""Written text of one answer, while it streams: steps, the answer, and calls of tools."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.transcript.answer_frame import FramePiece, FrameSplitter
from onegen_model.transcript.template import Template
from onegen_model.transcript.tool_calls import InvalidToolCall, Piece, ToolCall, ToolCallParser


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of what the model wrote outside the answer frame."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of the answer, without the frame and the white space around it."""

    text: str


Part = StepText | AnswerText | ToolCall | InvalidToolCall


class PartStream:
    """Splits the text of `Token` events into parts. The sum of the `StepText`s is the text of the
    steps, that of the `AnswerText`s the answer; no part holds markup of the template.

    The first frame holds the answer; without a `template` (under a grammar) nothing is a frame.
    `opening` is the beginning of an unfinished answer; it is in no part. `with_tools`: calls of
    tools are parts of their own.

    After the last `end_span` either `answer` or `unframed` is the answer that `Template.parse`
    finds in the same spans: without a frame it is the text written after the last insertion.
    """

    def __init__(
        self, template: Template | None, opening: str = "", *, with_tools: bool = False
    ) -> None:
        start, end = (template.answer_start, template.answer_end) if template else ("", "")
        self._frame = FrameSplitter(start, end)
        self._calls = ToolCallParser() if with_tools else None
        self._span = ""
        self.answer = self.unframed = ""
        self.feed(opening)
        self._span = ""

    @property
    def has_frame(self) -> bool:
        """Whether an answer frame has begun."""
        return self._frame.has_frame

    def feed(self, text: str) -> list[Part]:
        """Parts that became certain with `text`."""
        return self._split(self._calls.feed(text) if self._calls else [text])

    def end_span(self) -> list[Part]:
        """Parts that were held back, at the end of the answer or where passages are inserted."""
        parts = self._split(self._calls.flush() if self._calls else [])
        parts += map(self._part, self._frame.end_span())
        self.unframed, self._span = "" if self.has_frame else self._span.strip(), ""
        return parts

    def _split(self, pieces: Sequence[Piece]) -> list[Part]:
        parts: list[Part] = []
        for piece in pieces:
            if isinstance(piece, str):
                parts += map(self._part, self._frame.feed(piece))
            else:
                parts.append(piece)
        return parts

    def _part(self, piece: FramePiece) -> Part:
        if piece.is_answer:
            self.answer += piece.text
            return AnswerText(piece.text)
        self._span += piece.text
        return StepText(piece.text)
