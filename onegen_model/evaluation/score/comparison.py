"""Runs side by side, over the questions that all of them hold."""

import logging
from collections.abc import Mapping, Sequence

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.ranking import Ranking
from onegen_model.evaluation.ask.run_folder import RunFolder
from onegen_model.evaluation.score.cases import Case, Row
from onegen_model.evaluation.score.scores import Scores, score

logger = logging.getLogger(__name__)

_NAMES = {"own": "OneGen", "bm25": "BM25", "minilm": "MiniLM"}


def score_runs(
    runs: Mapping[str, RunFolder],
    questions: Sequence[GoldQuestion],
    trained: frozenset[str] | None = None,
) -> Scores:
    """All tables for runs by name; `trained` are the paragraphs that were gold in training.

    Raises InvalidInputError where a run holds other questions than `questions`.
    """
    return score(rows_of(runs, questions), trained)


def rows_of(runs: Mapping[str, RunFolder], questions: Sequence[GoldQuestion]) -> list[Row]:
    """A row for each run and for each other retriever that ranked for it.

    All rows are reduced to the questions that every run holds. Raises InvalidInputError where a
    run holds other questions than `questions`.
    """
    known = {question.id: question for question in questions}
    rows = [row for name, run in runs.items() for row in _rows(name, run, known)]
    shared = set(known).intersection(*({case.question.id for case in row.cases} for row in rows))
    if not shared:
        raise InvalidInputError(
            f"{', '.join(runs)} share no question of the file; expected some; finish the runs, or "
            "score them one by one"
        )
    if any(len(row.cases) > len(shared) for row in rows):
        logger.warning("Scored on the %d questions that all rows have", len(shared))
    return [
        Row(row.name, [case for case in row.cases if case.question.id in shared], row.frame)
        for row in rows
    ]


def _rows(name: str, run: RunFolder, known: Mapping[str, GoldQuestion]) -> list[Row]:
    traces, settings = run.traces(), run.settings
    ranked: dict[tuple[str, str], dict[str, Ranking]] = {}
    for ranking in run.rankings():
        ranked.setdefault((ranking.retriever, ranking.query), {})[ranking.question_id] = ranking
    own = ranked.pop((settings.retriever, settings.query), {})
    asked = list(traces) or list(own)
    for question_id in asked:
        text = traces[question_id].question if traces else next(iter(own[question_id].asked), None)
        _require_known(run, question_id, known, text)
    # Questions that a stopped run has not ranked yet count neither as found nor as missed.
    if unranked := [i for i in asked if own and i not in own]:
        logger.warning("%s: %d questions, not ranked yet, are left out", name, len(unranked))
        asked = [i for i in asked if i in own]
    cases = [Case(known[i], traces.get(i), own.get(i)) for i in asked]
    rows = [Row(name, cases, settings.frame)]
    for (retriever, query), rankings in ranked.items():
        label = f"{name}: {_NAMES.get(retriever, retriever)} ({query})"
        rows.append(Row(label, [Case(known[i], None, rankings[i]) for i in asked if i in rankings]))
    return rows


def _require_known(
    run: RunFolder, question_id: str, known: Mapping[str, GoldQuestion], text: str | None
) -> None:
    if question_id not in known:
        what = f"question {question_id}, which is not in the file"
    elif text is not None and known[question_id].text != text:
        what = f"question {question_id} with another text ({text!r})"
    else:
        return
    raise InvalidInputError(
        f"{run.path} holds {what}; expected questions of the file; name the file that the run "
        "was made with"
    )
