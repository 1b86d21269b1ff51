"""Which score tells questions that the documents answer from those that they do not.

    python -m benchmarks.refusals [--index DIR] [--questions FILE] [--model M] [--min-score X …]

The questions are as `onegen evaluate` reads them; the answer null means that the documents hold
none. `type` names a row of the tables. By default 40 questions about the bundled invented
world are asked.

Each question is asked once without a limit, and the best score of each of its searches is noted.
From these follows, for every `min_score`, which questions would be refused: by the first search
alone, and by any search (there the searches behind the first are taken as they were, although a
limit may change what the model reads). Each `--min-score` given is then really asked with.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import report
from benchmarks.data import WORLD, load, open_index
from onegen_model import (
    OneGenModel,
    PassageIndex,
    Query,
    RetrievalParams,
    Retriever,
    SamplingParams,
    ScoredPassage,
)
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation import read_document_questions
from onegen_model.jsonl import JsonLines
from onegen_model.spans import span_pattern

QUESTIONS = Path(__file__).with_suffix(".jsonl")
STEP = 0.02


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    answers: tuple[str, ...]
    type: str

    @property
    def is_answerable(self) -> bool:
        return bool(self.answers)


@dataclass(slots=True)
class Best:
    """A retriever that notes the best score of each query, what the context holds included."""

    retriever: Retriever
    scores: list[float] = field(default_factory=list)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        best = self.retriever.retrieve([replace(one, exclude=(), top_k=1) for one in queries])
        self.scores += [hits[0].score if hits else float("-inf") for hits in best]
        return self.retriever.retrieve(queries)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the best score of each of its searches."""

    question: Question
    scores: tuple[float, ...]
    answer: str
    found: bool

    @property
    def is_right(self) -> bool:
        """Whether the answer holds a gold answer, as whole words."""
        return any(span_pattern(gold).search(self.answer) for gold in self.question.answers)

    def to_dict(self) -> dict[str, Any]:
        question = self.question
        return {
            "question": question.text,
            "type": question.type,
            "answerable": question.is_answerable,
            "scores": [round(score, 4) for score in self.scores],
            "answer": self.answer,
            "right": self.is_right,
            "found": self.found,
        }


def read(path: Path) -> list[Question]:
    """The questions of a file; raises InvalidInputError that names each wrong line."""
    kinds = {str(row.get("question")).strip(): row.get("type") for row in JsonLines(path)}
    questions = []
    for one in read_document_questions(path):
        kind = "answerable" if one.answers else "unanswerable"
        questions.append(Question(one.text, one.answers, str(kinds[one.text] or kind)))
    if len({question.is_answerable for question in questions}) < 2:
        raise InvalidInputError(
            f"{path} has questions of one kind; expected some with an answer and some with null; "
            "add the others"
        )
    return questions


def ask(
    model: OneGenModel, index: Retriever, question: Question, retrieval: RetrievalParams
) -> Asked:
    best = Best(index)
    answer = model.generate(
        question.text, retriever=best, retrieval=retrieval, sampling=SamplingParams(128)
    )
    return Asked(question, tuple(best.scores), answer.text, answer.found)


def first(asked: Asked) -> float:
    """The least `min_score` above which the first search is empty; never without a search."""
    return asked.scores[0] if asked.scores else float("inf")


def lowest(asked: Asked) -> float:
    """The same for any search."""
    return min(asked.scores, default=float("inf"))


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def curve(asked: Sequence[Asked], score: Callable[[Asked], float]) -> list[dict[str, float]]:
    """For each `min_score`: the refused share of the unanswerable and of the answerable."""
    without = [score(one) for one in asked if not one.question.is_answerable]
    within = [score(one) for one in asked if one.question.is_answerable]
    known = [value for value in (*without, *within) if abs(value) != float("inf")]
    if not known:
        return []
    start, end = int(min(known) / STEP) - 1, int(max(known) / STEP) + 2
    return [
        {
            "min_score": round(at * STEP, 4),
            "refused": share([value < at * STEP for value in without]),
            "falsely_refused": share([value < at * STEP for value in within]),
        }
        for at in range(start, end + 1)
    ]


def separation(asked: Sequence[Asked], score: Callable[[Asked], float]) -> float:
    """How often an answerable question has the higher score of a pair; 0.5 tells nothing."""
    without = [score(one) for one in asked if not one.question.is_answerable]
    within = [score(one) for one in asked if one.question.is_answerable]
    pairs = [(high > low) + 0.5 * (high == low) for high in within for low in without]
    return sum(pairs) / len(pairs)


def best_point(points: Sequence[dict[str, float]], most: float) -> dict[str, float] | None:
    """The point that refuses most of the unanswerable, with at most `most` falsely refused."""
    allowed = [point for point in points if point["falsely_refused"] <= most]
    return max(allowed, key=lambda point: point["refused"], default=None)


def spread(asked: Sequence[Asked], score: Callable[[Asked], float]) -> list[list[object]]:
    """For each type of question: its number, and the quartiles of its scores."""
    rows: list[list[object]] = []
    for kind in dict.fromkeys(one.question.type for one in asked):
        some = sorted(score(one) for one in asked if one.question.type == kind)
        points = (some[round(part * (len(some) - 1))] for part in (0, 0.25, 0.5, 0.75, 1))
        rows.append([kind, len(some), *(f"{point:.3f}" for point in points)])
    return rows


def really(
    model: OneGenModel, index: Retriever, questions: Sequence[Question], least: float
) -> dict[str, float]:
    """What `min_score=least` does when the questions are asked with it."""
    retrieval = RetrievalParams(min_score=least)
    asked = [ask(model, index, one, retrieval) for one in tqdm(questions, desc=f"≥ {least:g}")]
    answerable = [one for one in asked if one.question.is_answerable]
    return {
        "min_score": least,
        "refused": share([not one.found for one in asked if not one.question.is_answerable]),
        "falsely_refused": share([not one.found for one in answerable]),
        "right": share([one.is_right for one in answerable]),
    }


def show(asked: Sequence[Asked], measured: dict[str, Any]) -> None:
    answerable = [one for one in asked if one.question.is_answerable]
    heads = ["type", "questions", "least", "25 %", "median", "75 %", "most"]
    print(f"\n## Best score of the first search\n\n{report.markdown(heads, spread(asked, first))}")
    print(
        f"\n## Lowest best score of any search\n\n{report.markdown(heads, spread(asked, lowest))}"
    )
    for name in ("first", "any"):
        points = measured[f"curve_{name}"]
        cells = [[f"{point[key]:.2f}" for key in point] for point in points]
        print(
            f"\n## Refused by the {name} search (separation {measured[f'separation_{name}']:.2f})"
        )
        print(f"\n{report.markdown(['min_score', 'refused', 'falsely refused'], cells)}")
    print(f"\nRight without a limit: {share([one.is_right for one in answerable]):.2f}")
    for row in measured["asked_with"]:
        print(", ".join(f"{name} {value:.2f}" for name, value in row.items()))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals", description=__doc__)
    parser.add_argument("--index", type=Path, help="an index of the model (default: the demo's)")
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--min-score", type=float, nargs="*", default=[], metavar="X")
    options = parser.parse_args(argv)
    questions = read(options.questions)
    model = OneGenModel.from_pretrained(options.model)
    if options.index is None:
        index = open_index(model, load(WORLD, unanswerable=True))
    else:
        index = PassageIndex.load(model, options.index)
    asked = [ask(model, index, one, RetrievalParams()) for one in tqdm(questions, desc="Asking")]
    measured: dict[str, Any] = {"passages": len(index)}
    for name, score in (("first", first), ("any", lowest)):
        points = curve(asked, score)
        measured |= {f"separation_{name}": separation(asked, score), f"curve_{name}": points}
        measured |= {
            f"best_{name}": {
                f"{most:.0%} false": best_point(points, most) for most in (0.0, 0.05, 0.1, 0.2)
            }
        }
    measured["asked_with"] = [really(model, index, questions, least) for least in options.min_score]
    measured["requests"] = [one.to_dict() for one in asked]
    show(asked, measured)
    print(
        f"\nBest points: {json.dumps({key: measured[key] for key in ('best_first', 'best_any')})}"
    )
    print(f"\nWritten to {report.save('refusals', model, options, measured)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
