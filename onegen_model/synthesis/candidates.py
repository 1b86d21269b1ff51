"""What is written about a passage, and the checks that need no model."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onegen_model.evaluation.score.answer_metrics import normalise_answer
from onegen_model.events import Passage

# Why a candidate is left out, in the order of the checks.
Rejection = Literal[
    "no question", "answer not in the passage", "answer in the question", "asked before",
    "passage not found", "answered otherwise",
]  # fmt: skip
REJECTIONS: tuple[Rejection, ...] = (
    "no question", "answer not in the passage", "answer in the question", "asked before",
    "passage not found", "answered otherwise",
)  # fmt: skip

_MAX_ANSWER_WORDS = 12
_MAX_QUESTION_WORDS = 40


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question, the answer that its writer gave, and the passage that both are made from."""

    question: str
    answer: str
    passage: Passage


class QuestionWriter(Protocol):
    """A way to write questions about a passage."""

    @property
    def name(self) -> str:
        """What made the questions, for the file's settings: one name for one way."""
        ...

    def write(self, passage: Passage) -> Sequence[Candidate]:
        """Some questions about one passage, maybe none; raises OneGenError."""
        ...


def verbatim(candidate: Candidate) -> str:
    """The answer as the passage writes it, "" where the passage does not hold it."""
    wanted = r"\s+".join(map(re.escape, candidate.answer.strip(" .,;:").split()))
    if not wanted:
        return ""
    found = re.search(rf"(?<!\w){wanted}(?!\w)", candidate.passage.text, re.IGNORECASE)
    return found[0] if found else ""


def problem_of(candidate: Candidate, asked: Iterable[str]) -> Rejection | None:
    """The first check that fails; `asked` are the earlier questions, folded."""
    question = " ".join(candidate.question.split())
    words = question.split()
    if not question.endswith("?") or not 3 <= len(words) <= _MAX_QUESTION_WORDS:
        return "no question"
    answer = verbatim(candidate)
    if not answer or len(answer.split()) > _MAX_ANSWER_WORDS:
        return "answer not in the passage"
    if f" {normalise_answer(answer)} " in f" {normalise_answer(question)} ":
        return "answer in the question"
    return "asked before" if folded(question) in asked else None


def folded(question: str) -> str:
    """A question without case and punctuation, to be compared with others."""
    return normalise_answer(question)


def matches(answer: str, written: str) -> bool:
    """Whether one of both holds the other, word by word after normalisation.

    An answer that holds less than half the words that were written is another one.
    """
    ours, theirs = normalise_answer(answer).split(), normalise_answer(written).split()
    if not theirs or 2 * len(ours) < len(theirs):
        return False
    longer, shorter = (f" {' '.join(one)} " for one in sorted((ours, theirs), key=len)[::-1])
    return shorter in longer
