"""Selection of hard negatives among retrieved passages: pure functions.

The rules and their names are those of `mine_hard_negatives` in sentence-transformers (range_min,
range_max, max_score, absolute_margin, relative_margin, num_negatives, sampling_strategy), whose
relative margin is the "TopK-PercPos" of NV-Retriever (arXiv 2407.15831). A margin is below the
lowest score of a query's positives. Ranks count from 1, both ends included, positives among them.
A transcript adds one rule: a passage that contains the short answer may be an unlabelled positive.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage, ScoredPassage
from onegen_model.finetune.data.collator import content_key
from onegen_model.retrieval.bm25 import words

SamplingStrategy = Literal["top", "random"]

# Answers that any text may contain.
_EMPTY_ANSWERS = frozenset({"yes", "no"})


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """Settings of the selection; raises InvalidInputError for values out of range.

    `keep_answers` allows passages that contain the short answer; `keep_negatives` adds to the
    negatives of an example instead of replacing them. `seed` is for the strategy "random".
    """

    num_negatives: int = 4
    range_min: int = 2
    range_max: int = 30
    relative_margin: float | None = 0.05
    absolute_margin: float | None = None
    max_score: float | None = None
    sampling_strategy: SamplingStrategy = "top"
    keep_answers: bool = False
    keep_negatives: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise InvalidInputError(
                f"num_negatives={self.num_negatives}; expected at least 1; change it"
            )
        if not 1 <= self.range_min <= self.range_max:
            raise InvalidInputError(
                f"Ranks {self.range_min} to {self.range_max}; expected the first at least 1 and "
                "the last no smaller; change them"
            )
        if self.num_negatives > self.range_max - self.range_min + 1:
            raise InvalidInputError(
                f"{self.num_negatives} negatives of ranks {self.range_min} to {self.range_max}; "
                "expected no more negatives than ranks; change one of them"
            )
        for name in ("relative_margin", "absolute_margin"):
            margin = getattr(self, name)
            if margin is not None and not 0 <= margin < np.inf:
                raise InvalidInputError(f"{name}={margin}; expected 0 or more; change it")
        if self.max_score is not None and np.isnan(self.max_score):
            raise InvalidInputError("max_score is not a number; expected one; change it")
        if self.sampling_strategy not in get_args(SamplingStrategy):
            raise InvalidInputError(
                f"sampling_strategy={self.sampling_strategy!r}; expected one of "
                f"{', '.join(get_args(SamplingStrategy))}; change it"
            )

    def highest_score(self, positive_score: float) -> float:
        """The highest allowed score of a negative, given the score of the positive."""
        limits = [np.inf if self.max_score is None else self.max_score]
        if self.absolute_margin is not None:
            limits.append(positive_score - self.absolute_margin)
        if self.relative_margin is not None:
            limits.append(positive_score - abs(positive_score) * self.relative_margin)
        return min(limits)


@dataclass(frozen=True, slots=True)
class QueryLabels:
    """Labels of a query: content keys of passages that are no candidates, the lowest score of its
    positives, and short answers; a passage that contains one may be a positive.
    """

    keys: frozenset[int]
    positive_score: float
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Negatives, best first, and how many candidates were left out as likely positives."""

    passages: tuple[Passage, ...]
    holding_answer: int = 0
    scoring_high: int = 0


def select_negatives(
    ranked: Sequence[ScoredPassage],
    known: QueryLabels,
    settings: MiningSettings,
    rng: random.Random,
) -> Selection:
    """Choose negatives from ranked passages, best first, positives included."""
    candidates: dict[int, Passage] = {}
    limit = settings.highest_score(known.positive_score)
    answers = [] if settings.keep_answers else known.answers
    holding_answer = scoring_high = 0
    for found in ranked[settings.range_min - 1 : settings.range_max]:
        key = content_key(found.passage)
        if key in known.keys or key in candidates:
            continue
        if any(holds_answer(found.passage, answer) for answer in answers):
            holding_answer += 1
        elif found.score > limit:
            scoring_high += 1
        else:
            candidates[key] = found.passage
    passages = list(candidates.values())
    if settings.sampling_strategy == "random":
        count = min(settings.num_negatives, len(passages))
        passages = [passages[at] for at in sorted(rng.sample(range(len(passages)), count))]
    return Selection(tuple(passages[: settings.num_negatives]), holding_answer, scoring_high)


def holds_answer(passage: Passage, answer: str) -> bool:
    """Whether a passage contains an answer as whole words; False for a mere yes or no."""
    sought = " ".join(words(answer))
    if not sought or sought in _EMPTY_ANSWERS:
        return False
    return f" {sought} " in _spaced(passage.titled_text)


@lru_cache(maxsize=2**16)
def _spaced(text: str) -> str:
    return f" {' '.join(words(text))} "
