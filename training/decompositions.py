"""Questions of which only the hops are known, and no paragraph: they teach how to ask on.

A made-up passage stands behind each sub-question: the fact that is asked for among facts of other
questions, in the words of their own sub-questions. So nothing here trains retrieval.
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
    told = [(tidy(one["question"]), one["answer"].strip().rstrip(".")) for one in (hop, *others)]
    rng.shuffle(told)
    text = " ".join(f"{question} {answer}." for question, answer in told)
    return {"title": hop["title"] or "", "text": text}
