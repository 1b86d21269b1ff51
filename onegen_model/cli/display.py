"""Display of questions, events and answers, as text or as JSON lines."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from onegen_model.cli.printable import printable
from onegen_model.cli.sources import SourceListing, format_sources, has_links
from onegen_model.events import (
    Event,
    Finished,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    Token,
    Usage,
    event_to_dict,
)
from onegen_model.transcript.answer_parts import AnswerText, Part, PartStream, StepText
from onegen_model.transcript.template import Template

if TYPE_CHECKING:
    from onegen_model.transcript.answer import Answer

_STYLES = {"bold": "1", "dim": "2", "blue": "34"}
_ENDINGS = {
    "length": "the answer was cut at its maximum length",
    "cancelled": "cancelled",
    "failed": "failed",
}


class Display(Protocol):
    """Shows a conversation: `begin`, events, `answer`, and so on."""

    def begin(self, *, searches: bool) -> None: ...

    def question(self, text: str, expected: str = "") -> None: ...

    def event(self, event: Event) -> None: ...

    def answer(self, answer: "Answer", seconds: float) -> None: ...

    def sources(self, found: Sequence[ScoredPassage]) -> None: ...


def open_display(
    *,
    as_json: bool,
    template: Template,
    sources: SourceListing = SourceListing(),  # noqa: B008 (frozen)
) -> Display:
    """A display on the standard output of what a model with this template writes."""
    if as_json:
        return JsonDisplay(sys.stdout)
    width = min(shutil.get_terminal_size().columns, 120)
    sources = replace(sources, links=has_links(sys.stdout))
    return TextDisplay(sys.stdout, template, use_colour(sys.stdout), width, sources)


def use_colour(stream: TextIO) -> bool:
    """Whether to colour the output; follows no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class JsonDisplay:
    """Prints one JSON object per line: each event, then `{"answer": …}`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, *, searches: bool) -> None:
        pass

    def question(self, text: str, expected: str = "") -> None:
        self._write({"question": text} | ({"expected": expected} if expected else {}))

    def event(self, event: Event) -> None:
        self._write(event_to_dict(event))

    def answer(self, answer: "Answer", seconds: float) -> None:
        self._write({"answer": {**answer_to_dict(answer), "seconds": round(seconds, 3)}})

    def sources(self, found: Sequence[ScoredPassage]) -> None:
        self._write({"sources": [asdict(scored) for scored in found]})

    def _write(self, value: dict[str, Any]) -> None:
        self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._out.flush()


class TextDisplay:
    """Prints steps, retrievals and the answer as they happen, each once, then the sources."""

    def __init__(
        self,
        out: TextIO,
        template: Template | None = None,
        colour: bool = False,
        width: int = 80,
        sources: SourceListing = SourceListing(),  # noqa: B008 (frozen)
    ) -> None:
        self._out = out
        self._template = template or Template()
        self._colour = colour
        self._width = width
        self._listing = sources
        self._line_text = ""
        self.begin(searches=True)

    def begin(self, *, searches: bool) -> None:
        """A new answer. Without searches, written text is shown like an answer from the start."""
        self._parts = PartStream(self._template)
        self._searches = searches
        self._steps = self._answer = ""

    def question(self, text: str, expected: str = "") -> None:
        self._line(f"Question: {text}", "bold")
        if expected:
            self._line(f"Expected: {expected}", "dim")

    def event(self, event: Event) -> None:
        if isinstance(event, Token):
            self._show(self._parts.feed(event.text))
        elif isinstance(event, RetrievalRequested):
            self._show(self._parts.end_span())
            # The line that the model searches with is usually on the screen already.
            is_shown = self._line_text.strip() == event.text.strip()
            self._line(f"  hop {event.hop} searched{'' if is_shown else f': {event.text}'}", "blue")
        elif isinstance(event, PassagesInserted):
            for line in format_passages(event, self._width):
                self._line(line, "dim")
        elif isinstance(event, Finished):
            self._show(self._parts.end_span())
            if event.reason in _ENDINGS:
                self._line(f"({_ENDINGS[event.reason]})")
            self._end_line()

    def answer(self, answer: "Answer", seconds: float) -> None:
        self._end_line()
        shown = self._answer if self._answer or self._searches else self._steps
        if not answer.text or shown.strip() != answer.text.strip():
            self._line(f"Answer: {answer.text or '(none)'}", "bold")
        if not answer.found:
            self._line(answer.reason)
        found = [scored for item in answer.retrievals for scored in item.passages]
        for line in format_sources(found, self._listing):
            self._out.write(f"{line}\n")
        for line in (format_usage(answer.usage, seconds), ""):
            self._line(line)

    def sources(self, found: Sequence[ScoredPassage]) -> None:
        self._end_line()
        for line in format_sources(found, replace(self._listing, kind="full")):
            self._out.write(f"{line}\n")

    def _show(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if isinstance(part, AnswerText):
                if not self._answer:
                    self._end_line()
                    self._write("Answer: ", "bold")
                self._answer += part.text
                self._write(part.text, "bold")
            elif isinstance(part, StepText):
                self._show_step(part.text)

    def _show_step(self, text: str) -> None:
        if self._line_text.startswith("Answer: "):
            self._end_line()
        # Text behind a passage begins with a space.
        text = text if self._line_text else text.lstrip()
        self._steps += text
        self._write(text, "dim" if self._searches else "")

    def _line(self, text: str, style: str = "") -> None:
        self._end_line()
        self._write(text, style)
        self._write("\n")

    def _end_line(self) -> None:
        if self._line_text:
            self._write("\n")

    def _write(self, text: str, style: str = "") -> None:
        text = printable(text)
        if not text:
            return
        self._line_text = (self._line_text + text).rpartition("\n")[2]
        if self._colour and style:
            text = f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
        self._out.write(text)
        self._out.flush()


def format_passages(event: PassagesInserted, width: int) -> list[str]:
    """One line for each passage that was inserted, score first."""
    lines = []
    for scored in event.passages:
        passage = scored.passage
        start = f"    {scored.score:.3f}  "
        title = f"{passage.title}: " if passage.title else ""
        lines.append(start + shorten(title + passage.text, width - len(start)))
    if event.dropped:
        lines.append(f"    {_count(event.dropped, 'passage')} left out (the context is full)")
    nothing = "    nothing was found" if event.reason else "    nothing new was found"
    return lines or [nothing]


def format_usage(usage: Usage, seconds: float) -> str:
    """The counters of one request on one line."""
    return (
        f"Tokens: {usage.forwarded} read once, {usage.reused} reused "
        f"({usage.prompt} prompt, {usage.written} written, {usage.inserted} inserted); "
        f"{_count(usage.retrievals, 'retrieval')}; {seconds:.1f} s"
    )


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else f"{line[: max(width - 1, 0)]}…"


def answer_to_dict(answer: "Answer") -> dict[str, Any]:
    """A JSON-able form, without the ids."""
    return {
        "text": answer.text,
        "steps": list(answer.steps),
        "retrievals": [
            {
                "hop": item.hop,
                "query": item.query,
                "passages": [asdict(scored) for scored in item.passages],
            }
            for item in answer.retrievals
        ],
        "sources": [asdict(source) | {"label": source.label} for source in answer.sources],
        "usage": asdict(answer.usage),
        "finish_reason": answer.finish_reason,
        "found": answer.found,
        "reason": answer.reason,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
