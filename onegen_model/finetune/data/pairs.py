"""Retrieval-only data: pairs, triplets and scored pairs, one JSON object a line.

{"query": "…", "positive": "…"}                             or a list of positives
{"query": "…", "positive": "…", "negative": ["…", "…"]}     a triplet, or more negatives
{"query": "…", "passage": "…", "score": 0.8}                lines of one query belong together

`anchor` may stand for `query`. A passage is a text or {"text": "…", "title": "…"}. A passage with
a score of at least .5 is a positive of its query, any other a hard negative.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from onegen_model.events import Passage
from onegen_model.finetune.data.examples import (
    RetrievalTarget,
    TrainingExample,
    TrainingSegment,
    inline_passage,
    passage_problems,
)
from onegen_model.jsonl import Numbered, Problem

POSITIVE_SCORE = 0.5
_FIELDS = ("query", "anchor", "positive", "negative", "passage", "score", "id")


class Pairs:
    """Examples without a transcript: the query token stands right behind the prompt."""

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        for name in plain:
            if name not in _FIELDS:
                yield Problem(name, f"unknown; expected one of {', '.join(_FIELDS)}")
        query = _query(plain)
        if not isinstance(query, str) or not query.strip():
            yield Problem("query", "expected some text")
        if "score" in plain:
            score = plain["score"]
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                yield Problem("score", "expected a number between 0 and 1")
            yield from _passage_problems(plain.get("passage"), "passage")
            return
        if not plain.get("positive"):
            yield Problem("positive", "expected a passage, or a passage and its score")
        for name in ("positive", "negative"):
            for number, passage in enumerate(_as_list(plain.get(name))):
                yield from _passage_problems(passage, f"{name}[{number}]")

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        """Scored lines of one query are one example, if one of them is a positive."""
        groups: list[list[int]] = []
        scored: dict[str, list[int]] = {}
        relevant = set()
        for number, plain in sound:
            if "score" not in plain:
                groups.append([number])
                continue
            query = _query(plain)
            scored.setdefault(query, []).append(number)
            if plain["score"] >= POSITIVE_SCORE:
                relevant.add(query)
        return [*groups, *(group for query, group in scored.items() if query in relevant)]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        positives: list[Passage] = []
        negatives: list[Passage] = []
        for record in plain:
            if "score" in record:
                is_positive = record["score"] >= POSITIVE_SCORE
                (positives if is_positive else negatives).append(_passage(record["passage"]))
            else:
                positives += map(_passage, _as_list(record["positive"]))
                negatives += map(_passage, _as_list(record.get("negative")))
        target = RetrievalTarget(tuple(positives), tuple(negatives))
        name = str(plain[0].get("id", name))
        return TrainingExample(name, _query(plain[0]), (TrainingSegment("", target),), writes=False)


def _query(plain: Mapping[str, Any]) -> Any:
    return plain.get("query", plain.get("anchor"))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _passage(value: Any) -> Passage:
    if isinstance(value, str):
        return inline_passage("", value)
    return inline_passage(value.get("title", ""), value["text"])


def _passage_problems(value: Any, where: str) -> Iterator[Problem]:
    if isinstance(value, dict):
        yield from passage_problems(value, f"{where}.")
    elif not isinstance(value, str) or not value.strip():
        yield Problem(where, "expected some text, or an object with text and title")
