"""Scores of runs over one's own documents, and their table."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.run_folder import JsonLog, RunFolder
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.documents.questions import RANKS, TASK, DocumentQuestion
from onegen_model.evaluation.score.answer_metrics import exact_match, f1, normalise_answer
from onegen_model.evaluation.score.answer_scores import answer_of
from onegen_model.evaluation.score.cases import Columns
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.spans import span_pattern

logger = logging.getLogger(__name__)

CUTS = (1, 5)
MEANINGS = {
    "exact match": "the answer equals an accepted one (without case, punctuation, a, an, the)",
    "F1": "overlap of their words",
    "contains": "the answer contains an accepted one, as whole words",
    "false refusals": "questions with an answer that were not answered",
    "refusals": "questions without an answer that were not answered",
    "recall@1": "a retrieval has the source first",
    "recall@5": "a retrieval has the source among its first 5 passages",
    "retrievals": "searches of a question",
    "seconds": "of a question, when several are asked at a time",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with what the model did, and the ranks of its source in each retrieval."""

    question: DocumentQuestion
    trace: Trace
    answer: str
    is_refused: bool
    ranks: tuple[int | None, ...] | None


Measures = dict[str, dict[str, float]]


def score_document_runs(
    runs: Mapping[str, RunFolder], questions: Sequence[DocumentQuestion]
) -> dict[str, Columns]:
    """The measures of each run by its name; of several runs also each one less the first.

    Several runs are scored over the questions that all of them hold.
    """
    asked = {name: _read(run, questions) for name, run in runs.items()}
    shared = set[str].intersection(*(set(some) for some in asked.values()))
    if not shared:
        raise InvalidInputError(
            f"{', '.join(runs)} share no question of the file; expected some; finish the runs, or "
            "name the file that they were made with"
        )
    if any(len(some) > len(shared) for some in asked.values()):
        logger.warning("Scored on the %d questions that all runs have", len(shared))
    order = [one.text for one in questions if one.text in shared]
    measured = {name: _measures([some[text] for text in order]) for name, some in asked.items()}
    columns = {name: _estimates(measures) for name, measures in measured.items()}
    first, *others = measured
    for name in others:
        columns[f"{name} less {first}"] = _differences(measured[first], measured[name])
    return columns


def _read(run: RunFolder, questions: Sequence[DocumentQuestion]) -> dict[str, _Asked]:
    if run.settings.task != TASK:
        raise InvalidInputError(
            f"{run.path} is a run of the task {run.settings.task}; expected one over your own "
            "documents; score it apart"
        )
    ranks = {
        (row["question"], row["source"]): tuple(row["ranks"])
        for _, row in JsonLog(run.path / RANKS).read()
    }
    traces, settings = run.traces(), run.settings
    # What is written in place of an answer where a search finds nothing.
    refusals = {"", str(settings.params.get("not_found") or "").strip()}
    found = {}
    for one in questions:
        if (trace := traces.get(one.id)) is not None:
            answer = answer_of(trace, settings.frame)
            is_refused = answer.strip() in refusals
            known = ranks.get((one.text, one.source))
            found[one.text] = _Asked(one, trace, answer, is_refused, known)
    return found


def _measures(asked: Sequence[_Asked]) -> Measures:
    """Measure, then question, then value; a measure has the questions that it applies to."""
    answerable = [one for one in asked if one.question.answers]
    without = [one for one in asked if not one.question.answers]
    ranked = [one for one in asked if one.ranks is not None]
    found: Measures = {
        "exact match": _best(answerable, exact_match),
        "F1": _best(answerable, f1),
        "contains": _best(answerable, _contains),
        "false refusals": {one.question.text: float(one.is_refused) for one in answerable},
        "refusals": {one.question.text: float(one.is_refused) for one in without},
        **{f"recall@{cut}": _recall(ranked, cut) for cut in CUTS},
        "retrievals": {one.question.text: float(len(one.trace.requested)) for one in asked},
        "seconds": {one.question.text: one.trace.seconds / one.trace.batch for one in asked},
    }
    return {name: values for name, values in found.items() if values}


def _best(asked: Sequence[_Asked], metric: Callable[[str, str], float]) -> dict[str, float]:
    return {
        one.question.text: max(float(metric(one.answer, gold)) for gold in one.question.answers)
        for one in asked
    }


def _contains(answer: str, gold: str) -> bool:
    # Whole words: the answer "16 weeks" does not contain "6 weeks".
    return bool(span_pattern(normalise_answer(gold)).search(normalise_answer(answer)))


def _recall(asked: Sequence[_Asked], cut: int) -> dict[str, float]:
    return {
        one.question.text: float(any(rank and rank <= cut for rank in one.ranks or ()))
        for one in asked
    }


def _estimates(measures: Measures) -> Columns:
    found = {
        name: Estimate.of((value, 1) for value in values.values())
        for name, values in measures.items()
    }
    # The questions of a batch share its time: no standard error over questions.
    found["seconds"] = replace(found["seconds"], standard_error=None)
    return found


def _differences(first: Measures, other: Measures) -> Columns:
    return {
        name: Estimate.of((value - first[name][text], 1) for text, value in values.items())
        for name, values in other.items()
        if name != "seconds" and first.get(name, {}).keys() == values.keys()
    }


def document_report(scores: Mapping[str, Columns]) -> str:
    """One Markdown table: a line for each measure, with its meaning."""
    names = [name for name in MEANINGS if any(name in columns for columns in scores.values())]
    heads = ["measure", *([] if len(scores) > 1 else ["value"]), "questions", "meaning"]
    if len(scores) > 1:
        heads[1:1] = [name.replace("|", "\\|") for name in scores]
    rows = [
        [
            name,
            *(f"{columns[name]:.2f}" if name in columns else "-" for columns in scores.values()),
            next(f"{columns[name].count:.0f}" for columns in scores.values() if name in columns),
            MEANINGS[name],
        ]
        for name in names
    ]
    marks = ["---", *["--:"] * (len(heads) - 2), "---"]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))
    return f"{table}\n\n± is the standard error over questions.\n"


def document_scores_to_dict(scores: Mapping[str, Columns]) -> dict[str, Any]:
    """A JSON-able form: run, then measure."""
    return {
        run: {name: value.to_dict() for name, value in columns.items()}
        for run, columns in scores.items()
    }
