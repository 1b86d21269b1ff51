"""Retrieval-only data: pairs, triplets and scored pairs, one JSON object a line.

{"query": "…", "positive": "…"}                             or a list of positives
{"query": "…", "positive": "…", "negative": ["…", "…"]}     a triplet, or more negatives
{"query": "…", "passage": "…", "score": 0.8}                lines of one query form one example

`anchor` is another name of `query`. A passage is a text or {"text": "…", "title": "…"}. A passage
with a score of at least .5 is a positive of its query, any other a hard negative.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, Strict, model_validator
from pydantic_core import PydanticCustomError

from onegen_model.events import Passage
from onegen_model.finetune.data.examples import (
    RetrievalTarget,
    TrainingExample,
    TrainingSegment,
    inline_passage,
    read_passage,
)
from onegen_model.finetune.data.records import (
    Expected,
    Format,
    Name,
    Record,
    Shape,
    SomeText,
    problem_at,
)
from onegen_model.jsonl import Numbered, Problem

POSITIVE_SCORE = 0.5


def _read_pair_passage(plain: Any) -> Passage:
    """A text, or an object with text and title."""
    if isinstance(plain, dict):
        return read_passage(plain)
    if not isinstance(plain, str) or not plain.strip():
        expected = "expected some text, or an object with text and title"
        raise PydanticCustomError("expected", expected)
    return inline_passage("", plain)


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


PairPassage = Annotated[Passage, PlainValidator(_read_pair_passage)]
PairPassages = Annotated[tuple[PairPassage, ...], BeforeValidator(_as_list)]


class PairRecord(Record):
    """One line of pairs; lines with a score are parts of an example."""

    model_config = ConfigDict(extra="forbid", validate_default=False)

    query: SomeText | None = None
    anchor: SomeText | None = None
    positive: PairPassages = ()
    negative: PairPassages = ()
    passage: PairPassage | None = None
    score: Annotated[
        float | None, Strict(), Field(ge=0, le=1), Expected("a number between 0 and 1")
    ] = None
    id: Name | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "PairRecord":
        if not self.asked:
            raise problem_at("query", "expected some text")
        if "score" in self.model_fields_set:
            if self.score is None:
                raise problem_at("score", "expected a number between 0 and 1")
            if self.passage is None:
                raise problem_at("passage", "expected some text, or an object with text and title")
        elif not self.positive:
            raise problem_at("positive", "expected a passage, or a passage and its score")
        return self

    @property
    def asked(self) -> str:
        """The query, under either name."""
        return self.query or self.anchor or ""


_PAIR = Shape[PairRecord](PairRecord)


class Pairs:
    """Examples without a transcript: the query token follows the prompt at once."""

    form: Format = "pairs"

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        return _PAIR.problems(plain)

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        """Scored lines of one query are one example, if one of them is a positive."""
        groups: list[list[int]] = []
        scored: dict[str, list[int]] = {}
        relevant = set()
        for number, plain in sound:
            if "score" not in plain:
                groups.append([number])
                continue
            query = plain.get("query") or plain["anchor"]
            scored.setdefault(query, []).append(number)
            if plain["score"] >= POSITIVE_SCORE:
                relevant.add(query)
        return [*groups, *(group for query, group in scored.items() if query in relevant)]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        positives: list[Passage] = []
        negatives: list[Passage] = []
        records = [_PAIR.read(one) for one in plain]
        for record in records:
            if record.passage is None or record.score is None:
                positives += record.positive
                negatives += record.negative
            else:
                is_positive = record.score >= POSITIVE_SCORE
                (positives if is_positive else negatives).append(record.passage)
        target = RetrievalTarget(tuple(positives), tuple(negatives))
        first = records[0]
        segment = TrainingSegment("", target)
        return TrainingExample(first.id or name, first.asked, (segment,), writes=False)
