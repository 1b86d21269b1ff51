"""Triples of question, answer and passage, one JSON object a line; `onegen synthesize` writes them.

{"question": "…", "answer": "…", "passage": "handbook/leave.md#2"}
{"question": "…", "answer": "…", "passage": {"text": "…", "title": "…"}}
{"question": "…", "answer": "…", "source": "handbook/leave.md"}

Without a passage it is the one of the source that holds the answer, and of several the one that
shares most words with the question; so a question for `onegen evaluate` that has an answer and a
source can be trained on.
A triple becomes the transcript of a question that takes one retrieval: the query token follows the
prompt at once, the passage is inserted, alone or with another one, and the answer is written. The
hard negatives are the neighbours of the passage in its document that do not hold the answer.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from onegen_model.events import Passage
from onegen_model.finetune.data.examples import (
    PassageRef,
    RetrievalTarget,
    TrainingExample,
    TrainingSegment,
    read_passage,
)
from onegen_model.finetune.data.records import (
    ABSENT,
    Expected,
    Format,
    Name,
    Record,
    Shape,
    SomeText,
    problem_at,
)
from onegen_model.jsonl import Numbered, Problem
from onegen_model.places import PassageNames
from onegen_model.spans import span_pattern
from onegen_model.transcript.template import Template

# How often a second passage is inserted, and how often the right one is then the first: a search
# that finds the right passage mostly ranks it first.
_TWO_PASSAGES_SHARE = 0.5
_GOLD_FIRST_SHARE = 0.7


def _read_ref(plain: Any) -> PassageRef | None:
    """An id, or an object with a text."""
    if plain is None:
        return None
    if isinstance(plain, dict):
        return read_passage(plain)
    if isinstance(plain, bool) or not isinstance(plain, str | int) or plain == "":
        expected = "expected a passage id, or an object with a text and, optionally, a title"
        raise PydanticCustomError("expected", expected)
    return str(plain)


def _first(value: Any) -> str | None:
    """Of several accepted answers the first is written; None where one of them is no text."""
    texts = [_text(one) for one in (value if isinstance(value, list) else [value])]
    return texts[0] if texts and all(texts) else None


def _text(value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = str(value) if is_number else value
    return text.strip() if isinstance(text, str) else None


class TripleRecord(Record):
    """One line; the other accepted answers of a list only keep passages from being negatives."""

    model_config = ConfigDict(extra="forbid")

    question: SomeText = ABSENT
    answer: Annotated[
        str,
        BeforeValidator(_first),
        Expected("some text, or a list of texts"),
    ] = ABSENT
    passage: Annotated[PassageRef | None, PlainValidator(_read_ref)] = None
    source: SomeText | None = None
    id: Name | None = None

    @model_validator(mode="after")
    def _has_a_passage(self) -> "TripleRecord":
        if self.passage is None and self.source is None:
            raise problem_at("passage", "expected a passage, or a source that holds the answer")
        return self


_TRIPLE = Shape[TripleRecord](TripleRecord)


class Triples:
    """Examples with one retrieval each, over `passages`."""

    form: Format = "triples"

    def __init__(self, passages: Mapping[str, Passage]) -> None:
        self._passages = passages
        self._ids = list(passages)
        self._names = PassageNames(passages.values())

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        found = list(_TRIPLE.problems(plain))
        if not found and self._gold(_TRIPLE.read(plain), plain) is None:
            what = f"no passage of {plain['source']!r} holds the answer"
            found = [Problem("source", f"{what}; expected one; add the passage, or correct it")]
        yield from found

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        record = _TRIPLE.read(plain[0])
        gold, template = self._gold(record, plain[0]), Template()
        assert gold is not None  # a line without one has a problem
        others = [] if isinstance(gold, Passage) else self._neighbours(gold, _answers(plain[0]))
        # Drawn by the content of the line, so that a resumed run draws the same.
        rng = random.Random(f"{record.question}|{record.answer}")
        target = RetrievalTarget((gold,), tuple(others), self._inserted(gold, others, rng))
        answer = f" {record.answer}\n{template.answer_start} {record.answer}{template.answer_end}"
        segments = (TrainingSegment("", target), TrainingSegment(answer))
        return TrainingExample(record.id or name, record.question, segments)

    def _gold(self, record: TripleRecord, plain: Mapping[str, Any]) -> PassageRef | None:
        if record.passage is not None or record.source is None:
            return record.passage
        answers = _answers(plain)
        found = [
            name
            for name in self._names.find(record.source)
            if _holds(self._passages[name], answers)
        ]
        asked = _words(record.question)
        return max(
            found, default=None, key=lambda name: len(asked & _words(self._passages[name].text))
        )

    def _neighbours(self, gold: str, answers: Sequence[str]) -> list[PassageRef]:
        """The passages before and behind in the document, without those that hold an answer."""
        document, _, number = gold.rpartition("#")
        if not document or not number.isdecimal():
            return []
        near = (f"{document}#{int(number) + step}" for step in (-1, 1))
        return [
            one
            for one in near
            if one in self._passages and not _holds(self._passages[one], answers)
        ]

    def _inserted(
        self, gold: PassageRef, others: Sequence[PassageRef], rng: random.Random
    ) -> tuple[PassageRef, ...]:
        """The gold passage, alone or with a neighbour or any other passage."""
        other: PassageRef | None = rng.choice(others) if others else None
        if self._ids and (other is None or rng.random() < 0.5):
            other = rng.choice(self._ids)
        if other is None or other == gold or rng.random() >= _TWO_PASSAGES_SHARE:
            return (gold,)
        return (gold, other) if rng.random() < _GOLD_FIRST_SHARE else (other, gold)


def _answers(plain: Mapping[str, Any]) -> list[str]:
    given = plain["answer"]
    return [str(one) for one in (given if isinstance(given, list) else [given])]


def _holds(passage: Passage, answers: Sequence[str]) -> bool:
    return any(span_pattern(answer).search(passage.titled_text) for answer in answers)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
