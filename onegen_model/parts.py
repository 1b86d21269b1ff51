"""Written text, while it streams, told apart: what leads to the answer, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.template import Template
from onegen_model.text import overlap


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of what the model wrote outside of the answer frame."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of the answer: no frame, no space around it."""

    text: str


Part = StepText | AnswerText


class PartStream:
    """Text of `Token` events in, parts out; their sums are the steps' text and the answer's.

    The first frame holds the answer. `opening` is what an unfinished answer began with.
    """

    def __init__(self, template: Template, opening: str = "") -> None:
        self._frame = [template.answer_start, template.answer_end]
        self._held = ""
        self._space = ""
        self.has_frame = False
        self.answer = ""
        self.feed(opening)

    def feed(self, text: str) -> list[Part]:
        """Parts that became certain."""
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

    def end_span(self) -> list[Part]:
        """Passages come, or nothing: what was held back is text."""
        held, self._held = self._held, ""
        return self._tell(held)

    def _tell(self, text: str) -> list[Part]:
        if len(self._frame) != 1:
            return [StepText(text)] if text else []
        text = self._space + text if self.answer else text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        self.answer += shown
        return [AnswerText(shown)] if shown else []


def split_steps(template: Template, spans: Sequence[str]) -> tuple[list[str], str]:
    """(text outside of the frame for each span, answer) of a whole turn, as the stream tells it."""
    stream, steps = PartStream(template), list[str]()
    for span in spans:
        parts = [*stream.feed(span), *stream.end_span()]
        steps.append("".join(part.text for part in parts if isinstance(part, StepText)))
    return steps, stream.answer
