"""Training data: transcripts whose passages are named by id, one JSON object a line.

{"id": "q1", "question": "Who …?", "segments": [
    {"text": "Who directed X?", "target": {"positives": ["p1"], "negatives": ["p7"],
                                           "inserted": ["p7", "p1"]}},
    {"text": " A. Name\\n<FINAL-ANSWER> A. Name</FINAL-ANSWER>"}]}

A passage {"text": "…", "title": "…"} may take the place of an id. A list "tools" in the format of
OpenAI becomes part of the prompt; a segment may then be the text of a call. With "writes": false an
example trains retrieval alone: the text after its last query token is not read, but `onegen mine`
takes from it the short answer that likely positives contain.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, Strict
from pydantic_core import PydanticCustomError

from onegen_model.events import Passage
from onegen_model.finetune.data.records import (
    Expected,
    Name,
    PassageRecord,
    Shape,
    SomeText,
    not_empty,
    problem_at,
)
from onegen_model.transcript.tool_calls import tool_function

PassageRef = str | Passage


def inline_passage(title: str, text: str) -> Passage:
    """A passage without an id of its own: equal passages get equal ids."""
    digest = hashlib.sha256(f"{title}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
    return Passage(f"inline-{digest[:16]}", text, title)


_PASSAGE = Shape[PassageRecord](PassageRecord)


def read_passage(plain: Any) -> Passage:
    """The passage of an object with a text; raises ValidationError."""
    record = _PASSAGE.read(plain)
    return inline_passage(record.title, record.text)


def _read_ref(plain: Any) -> PassageRef:
    """An id, or a passage in its place; raises PydanticCustomError or ValidationError."""
    if isinstance(plain, dict):
        return read_passage(plain)
    if isinstance(plain, bool) or not isinstance(plain, str | int):
        raise PydanticCustomError("expected", "expected a passage id, or a passage with a text")
    return str(plain)


def _read_tool(plain: Any) -> Mapping[str, Any]:
    tool: Mapping[str, Any] = plain if isinstance(plain, dict) else {}
    tool_function(tool)
    return tool


def _to_learn_from(example: "TrainingExample") -> "TrainingExample":
    """An example with at least one target."""
    if not example.writes and not any(target.positives for target in example.targets):
        raise problem_at(
            "writes", "false, and no target has a positive; expected something to train"
        )
    return example


Refs = Annotated[
    tuple[Annotated[PassageRef, PlainValidator(_read_ref)], ...],
    Expected("a list of passage ids"),
]
Tool = Annotated[
    Mapping[str, Any],
    PlainValidator(_read_tool),
    Expected("an object with a function that has a name"),
]


@dataclass(frozen=True, slots=True)
class RetrievalTarget:
    """The passages that a query token should find, and those inserted after it.

    One of `positives` is drawn as the target, the others are masked; an empty `positives` trains
    the language model only.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    positives: Refs
    negatives: Refs = ()
    inserted: Refs = ()

    @property
    def refs(self) -> tuple[PassageRef, ...]:
        return (*self.positives, *self.negatives, *self.inserted)


@dataclass(frozen=True, slots=True)
class TrainingSegment:
    """Written text, then (with a target) a query token and the inserted passages."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    text: Annotated[str, Strict(), Expected("a text, which may be empty")]
    target: Annotated[RetrievalTarget, Expected("an object with a list `positives`")] | None = None


Segment = Annotated[
    TrainingSegment, Expected("an object with text and, before a query token, a target")
]


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One question with its whole transcript.

    `tools`, in the format of OpenAI, are part of the prompt as at inference; a call of one is
    text, see `render_tool_call`. With `writes` false it trains retrieval alone: the transcript ends
    at its last query token and none of its tokens is a target.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Name
    question: SomeText
    segments: Annotated[
        tuple[Segment, ...],
        AfterValidator(not_empty),
        Expected("a list of at least one segment"),
        Field(validate_default=True),
    ] = field(default=())
    writes: Annotated[bool, Strict(), Expected("true or false")] = True
    tools: Annotated[tuple[Tool, ...], Expected("a list of tools, as OpenAI writes them")] = field(
        default=(), hash=False
    )

    @property
    def targets(self) -> tuple[RetrievalTarget, ...]:
        """The targets of the query tokens, in order."""
        return tuple(s.target for s in self.segments if s.target is not None)


TRANSCRIPT = Shape[TrainingExample](Annotated[TrainingExample, AfterValidator(_to_learn_from)])
