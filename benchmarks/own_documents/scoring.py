"""Tables of outcomes: right answers and sources, over all questions and by kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.own_documents.asking import Outcome
from onegen_model.evaluation.score.estimate import Estimate

Columns = dict[str, Estimate]
LIMITS = range(50, 95, 5)  # in hundredths
_COLUMNS: Mapping[str, Callable[[Outcome], bool]] = {
    "right": lambda one: one.right,
    "source first": lambda one: one.source_first,
    "source inserted": lambda one: one.source_inserted,
    "passage inserted": lambda one: one.passage_inserted,
}


def score(outcomes: Sequence[Outcome]) -> dict[str, Columns]:
    """Rows by name; questions without an answer count in a row of their own."""
    asked = [one for one in outcomes if one.question.answers]
    rows = {
        "all": _columns(asked),
        "of files that were read": _columns([one for one in asked if one.readable]),
        "the fact needs its heading": _columns(_needing(asked, "heading")),
        "the fact needs the header of its table": _columns(_needing(asked, "table")),
    }
    for kind in dict.fromkeys(one.question.kind for one in asked):
        rows[kind] = _columns([one for one in asked if one.question.kind == kind])
    return rows


def score_limits(outcomes: Sequence[Outcome]) -> dict[str, Columns]:
    """What each `min_score` would refuse: questions with a search whose best score is lower.

    The searches are taken as they were, although one that is refused ends the searching.
    """
    return {
        f"min_score {limit / 100:.2f}": score_refusals(
            [
                replace(one, found=one.found and min(one.scores, default=1) * 100 >= limit)
                for one in outcomes
            ]
        )
        for limit in LIMITS
    }


def score_refusals(outcomes: Sequence[Outcome]) -> Columns:
    """Shares of questions that were refused, of those without and of those with an answer."""
    without = [one for one in outcomes if not one.question.answers]
    asked = [one for one in outcomes if one.question.answers]
    return {
        "refused": _share(without, lambda one: not one.found),
        "refused although answerable": _share(asked, lambda one: not one.found),
        "refused although right": _share(
            [one for one in asked if one.right], lambda one: not one.found
        ),
    }


def _needing(outcomes: Sequence[Outcome], what: str) -> list[Outcome]:
    return [one for one in outcomes if one.question.needs == what]


def _columns(outcomes: Sequence[Outcome]) -> Columns:
    shares = {name: _share(outcomes, is_so) for name, is_so in _COLUMNS.items()}
    return {"questions": Estimate(len(outcomes), None, len(outcomes)), **shares}


def _share(outcomes: Sequence[Outcome], is_so: Callable[[Outcome], bool]) -> Estimate:
    return Estimate.of((is_so(one), 1) for one in outcomes)
