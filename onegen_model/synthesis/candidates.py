"""What is written about a passage, and the checks that need no model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onegen_model.evaluation.score.answer_metrics import normalise_answer
from onegen_model.events import Passage
from onegen_model.spans import count_words, span_pattern

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
_MIN_QUESTION_WORDS = 3
_MAX_QUESTION_WORDS = 40
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")  # Chinese and Arabic as well


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
    found = span_pattern(candidate.answer.strip(" .,;:")).search(candidate.passage.text)
    return found[0] if found else ""


def problem_of(candidate: Candidate, asked: Iterable[str]) -> Rejection | None:
    """The first check that fails; `asked` are the earlier questions, folded."""
    question = " ".join(candidate.question.split())
    if not question.endswith(_QUESTION_MARKS) or not _has_length_of_question(question):
        return "no question"
    answer = verbatim(candidate)
    if not answer or len(answer.split()) > _MAX_ANSWER_WORDS:
        return "answer not in the passage"
    if _holds(question, answer):
        return "answer in the question"
    return "asked before" if folded(question) in asked else None


def _has_length_of_question(text: str) -> bool:
    return count_words(text) >= _MIN_QUESTION_WORDS and len(text.split()) <= _MAX_QUESTION_WORDS


def folded(question: str) -> str:
    """A question without case and punctuation, to be compared with others."""
    return normalise_answer(question)


def matches(answer: str, written: str) -> bool:
    """Whether one of both holds the other, word by word after normalisation.

    An answer that holds less than half the words that were written is another one.
    """
    ours, theirs = (len(normalise_answer(one).split()) for one in (answer, written))
    if not theirs or 2 * ours < theirs:
        return False
    return _holds(answer, written) or _holds(written, answer)


def _holds(text: str, wanted: str) -> bool:
    return bool(span_pattern(normalise_answer(wanted)).search(normalise_answer(text)))
