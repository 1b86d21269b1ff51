"""Training data: transcripts whose passages are named by id, one JSON object a line.

{"id": "q1", "question": "Who …?", "segments": [
    {"text": "Who directed X?", "target": {"positives": ["p1"], "negatives": ["p7"],
                                           "inserted": ["p7", "p1"]}},
    {"text": " A. Name\\n<FINAL-ANSWER> A. Name</FINAL-ANSWER>"}]}
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetrievalTarget:
    """What the query token before it should find, and what stands in the context behind it.

    One of `positives` is drawn as the target, the others are masked; an empty `positives` trains
    the language model only.
    """

    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    inserted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingSegment:
    """Written text, then (with a target) a query token and the inserted passages."""

    text: str
    target: RetrievalTarget | None = None


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One question with its whole transcript."""

    id: str
    question: str
    segments: tuple[TrainingSegment, ...] = field(default=())

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "TrainingExample":
        """Raises KeyError or TypeError for a missing or unknown field."""
        segments = []
        for segment in plain["segments"]:
            target = segment.get("target")
            if target is not None:
                target = RetrievalTarget(**{name: tuple(ids) for name, ids in target.items()})
            segments.append(TrainingSegment(segment["text"], target))
        return cls(str(plain["id"]), plain["question"], tuple(segments))


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a .jsonl or .jsonl.gz file."""
    if not path.is_file():
        raise InvalidInputError(f"No file {path}; expected a .jsonl or .jsonl.gz; check the path")
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise InvalidInputError(
                    f"{path}:{number}: not JSON ({error}); expected one object a line; mend it"
                ) from error


def load_examples(path: Path) -> list[TrainingExample]:
    """All examples of a file; an error names the line."""
    examples = []
    for number, plain in read_jsonl(path):
        try:
            examples.append(TrainingExample.from_dict(plain))
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{path}:{number}: {type(error).__name__} {error}; expected id, question and "
                "segments as in onegen_model.finetune.examples; mend the line"
            ) from error
    return examples


def load_passages(path: Path) -> dict[str, Passage]:
    """Passages by id; each line has id, text and optionally title."""
    passages = {}
    for number, plain in read_jsonl(path):
        try:
            passage = Passage(str(plain["id"]), plain["text"], plain.get("title", ""))
        except KeyError as error:
            raise InvalidInputError(
                f"{path}:{number}: no field {error}; expected id and text; mend the line"
            ) from error
        passages[passage.id] = passage
    return passages
