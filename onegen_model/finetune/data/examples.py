"""Training data: transcripts whose passages are named by id, one JSON object a line.

{"id": "q1", "question": "Who …?", "segments": [
    {"text": "Who directed X?", "target": {"positives": ["p1"], "negatives": ["p7"],
                                           "inserted": ["p7", "p1"]}},
    {"text": " A. Name\\n<FINAL-ANSWER> A. Name</FINAL-ANSWER>"}]}

Where an id stands a passage itself may stand: {"text": "…", "title": "…"}. A list "tools", as
OpenAI writes them, stands in the prompt; a segment may then be the text of a call. With
"writes": false an example trains retrieval alone; what stands behind its last query token is not
read, but `onegen mine` finds the short answer there that keeps false negatives out.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.jsonl import Problem
from onegen_model.transcript.tool_calls import tool_function

PassageRef = str | Passage


@dataclass(frozen=True, slots=True)
class RetrievalTarget:
    """What the query token before it should find, and what stands in the context behind it.

    One of `positives` is drawn as the target, the others are masked; an empty `positives` trains
    the language model only.
    """

    positives: tuple[PassageRef, ...]
    negatives: tuple[PassageRef, ...] = ()
    inserted: tuple[PassageRef, ...] = ()

    @property
    def refs(self) -> tuple[PassageRef, ...]:
        return (*self.positives, *self.negatives, *self.inserted)


@dataclass(frozen=True, slots=True)
class TrainingSegment:
    """Written text, then (with a target) a query token and the inserted passages."""

    text: str
    target: RetrievalTarget | None = None


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One question with its whole transcript.

    `tools`, as OpenAI writes them, stand in the prompt as they do at inference; a call of one is
    text, see `render_tool_call`. With `writes` false it trains retrieval alone: the transcript ends
    at its last query token and none of its tokens is a target.
    """

    id: str
    question: str
    segments: tuple[TrainingSegment, ...] = field(default=())
    writes: bool = True
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    @property
    def targets(self) -> tuple[RetrievalTarget, ...]:
        """Of each query token, in order."""
        return tuple(s.target for s in self.segments if s.target is not None)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "TrainingExample":
        """A record in which `example_problems` finds none."""
        segments = []
        for segment in plain["segments"]:
            target = segment.get("target")
            if target is not None:
                target = RetrievalTarget(
                    **{name: tuple(map(to_ref, refs)) for name, refs in target.items()}
                )
            segments.append(TrainingSegment(segment["text"], target))
        return cls(
            str(plain["id"]),
            plain["question"],
            tuple(segments),
            writes=plain.get("writes", True),
            tools=tuple(plain.get("tools", ())),
        )


def inline_passage(title: str, text: str) -> Passage:
    """A passage that no corpus names: equal ones have equal ids."""
    digest = hashlib.sha256(f"{title}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
    return Passage(f"inline-{digest[:16]}", text, title)


def to_ref(plain: Any) -> PassageRef:
    """An id, or the passage that stands in its place."""
    if isinstance(plain, dict):
        return inline_passage(plain.get("title", ""), plain["text"])
    return str(plain)


def example_problems(plain: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that keeps a record from being a TrainingExample."""
    yield from _unknown(plain, ("id", "question", "tools", "segments", "writes"), "")
    if not isinstance(plain.get("id"), str | int):
        yield Problem("id", "expected a text or a number")
    if not isinstance(plain.get("question"), str) or not plain["question"].strip():
        yield Problem("question", "expected some text")
    yield from _tool_problems(plain.get("tools", []))
    segments = plain.get("segments")
    if not isinstance(segments, list) or not segments:
        yield Problem("segments", "expected a list of at least one segment")
        return
    for number, segment in enumerate(segments):
        yield from _segment_problems(segment, f"segments[{number}]")
    yield from _writes_problems(plain.get("writes", True), segments)


def _writes_problems(writes: Any, segments: Sequence[Any]) -> Iterator[Problem]:
    if not isinstance(writes, bool):
        yield Problem("writes", "expected true or false")
    elif not writes and not any(_has_positive(segment) for segment in segments):
        yield Problem("writes", "false, and no target has a positive; expected something to train")


def _has_positive(segment: Any) -> bool:
    target = segment.get("target") if isinstance(segment, dict) else None
    return isinstance(target, dict) and bool(target.get("positives"))


def _tool_problems(tools: Any) -> Iterator[Problem]:
    if not isinstance(tools, list):
        yield Problem("tools", "expected a list of tools, as OpenAI writes them")
        return
    for number, tool in enumerate(tools):
        try:
            tool_function(tool if isinstance(tool, dict) else {})
        except InvalidInputError:
            yield Problem(f"tools[{number}]", "expected an object with a function that has a name")


def _segment_problems(segment: Any, where: str) -> Iterator[Problem]:
    if not isinstance(segment, dict):
        yield Problem(where, "expected an object with text and, before a query token, a target")
        return
    yield from _unknown(segment, ("text", "target"), f"{where}.")
    if not isinstance(segment.get("text"), str):
        yield Problem(f"{where}.text", "expected a text, which may be empty")
    target = segment.get("target")
    if target is None:
        return
    if not isinstance(target, dict) or "positives" not in target:
        yield Problem(f"{where}.target", "expected an object with a list `positives`")
        return
    names = [f.name for f in fields(RetrievalTarget)]
    yield from _unknown(target, names, f"{where}.target.")
    for name in names:
        yield from ref_problems(target.get(name, []), f"{where}.target.{name}")


def ref_problems(refs: Any, where: str) -> Iterator[Problem]:
    """What keeps a value from being a list of passages or their ids."""
    if not isinstance(refs, list):
        yield Problem(where, "expected a list of passage ids")
        return
    for number, ref in enumerate(refs):
        if isinstance(ref, dict):
            yield from passage_problems(ref, f"{where}[{number}].")
        elif not isinstance(ref, str | int):
            yield Problem(f"{where}[{number}]", "expected a passage id, or a passage with a text")


def passage_problems(plain: Mapping[str, Any], where: str = "") -> Iterator[Problem]:
    """What keeps an object from being a passage; its id is the file's affair."""
    if not isinstance(plain.get("text"), str) or not plain["text"].strip():
        yield Problem(f"{where}text", "expected some text")
    if not isinstance(plain.get("title", ""), str):
        yield Problem(f"{where}title", "expected a text")


def _unknown(plain: Mapping[str, Any], known: Sequence[str], where: str) -> Iterator[Problem]:
    for name in plain:
        if name not in known:
            yield Problem(f"{where}{name}", f"unknown; expected one of {', '.join(known)}")
