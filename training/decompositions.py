"""Training examples from questions with hops and without paragraphs: they teach decomposition.

A generated passage follows each sub-question: the fact that it asks for among facts of other
questions, in the words of their sub-questions. These examples do not train retrieval.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from transcripts import tidy, written_texts

_DISTRACTOR_SHARE = 0.35
_MAX_HOPS = 4


def decompositions(
    rows: Sequence[dict[str, Any]], others: Sequence[str], rng: random.Random, count: int
) -> Iterator[dict[str, Any]]:
    """At most `count` training examples; `others` are ids of passages, as distractors."""
    usable = [
        row
        for row in rows
        if row["answer"]
        and 1 <= len(row["hops"]) <= _MAX_HOPS
        and all(hop["question"] and hop["answer"] for hop in row["hops"])
    ]
    facts = [hop for row in usable for hop in row["hops"]]
    for row in rng.sample(usable, min(count, len(usable))):
        *asked, end = written_texts(row, {})
        segments: list[dict[str, Any]] = []
        for text, hop in zip(asked, row["hops"], strict=True):
            inserted: list[Any] = [_passage(hop, rng.sample(facts, rng.randint(1, 2)), rng)]
            if rng.random() < _DISTRACTOR_SHARE:
                inserted.append(rng.choice(others))
                rng.shuffle(inserted)
            target = {"positives": [], "negatives": [], "inserted": inserted}
            segments.append({"text": text, "target": target})
        yield {
            "id": row["id"],
            "question": row["question"],
            "segments": [*segments, {"text": end}],
        }


def _passage(
    hop: dict[str, Any], others: Sequence[dict[str, Any]], rng: random.Random
) -> dict[str, str]:
    facts = [(tidy(one["question"]), one["answer"].strip().rstrip(".")) for one in (hop, *others)]
    rng.shuffle(facts)
    text = " ".join(f"{question} {answer}." for question, answer in facts)
    return {"title": hop["title"] or "", "text": text}
