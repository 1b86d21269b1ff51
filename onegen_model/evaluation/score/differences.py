"""Differences of each row from the first, question by question.

Pairing removes the difficulty of a question from the standard error.
"""

from collections.abc import Mapping, Sequence

from onegen_model.evaluation.score.answer_scores import score_answers
from onegen_model.evaluation.score.cases import Case, Columns, Row
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.retrieval_scores import hop_recall

_CUTS = (1, 5)


def score_differences(rows: Sequence[Row]) -> dict[str, Columns]:
    """A row for each but the first, over the questions that both have.

    Where any question has several hops, each hop has a row as well.
    """
    if not rows:
        return {}
    longest = max((len(case.question.hops) for row in rows for case in row.cases), default=0)
    first, *others = (_by_question(row, longest) for row in rows)
    return {
        f"{row.name}{part}": columns
        for row, other in zip(rows[1:], others, strict=True)
        for part, columns in _less(other, first).items()
    }


def _by_question(row: Row, longest: int) -> dict[str, dict[str, Columns]]:
    """Scores of each question alone: of answer and all hops (""), and of each hop."""
    return {case.question.id: _parts(case, row, longest) for case in row.cases}


def _parts(case: Case, row: Row, longest: int) -> dict[str, Columns]:
    parts = {"": score_answers([case], row.frame)}
    if case.ranking is None:
        return parts
    parts[""] |= {f"recall@{cut}": hop_recall([case], cut) for cut in _CUTS}
    hops = range(len(case.question.hops)) if longest > 1 else ()
    return parts | {f", hop {at + 1}": _at(case, at) for at in hops}


def _at(case: Case, hop: int) -> Columns:
    return {f"recall@{cut}": hop_recall([case], cut, lambda at, _: at == hop) for cut in _CUTS}


def _less(
    other: Mapping[str, Mapping[str, Columns]], first: Mapping[str, Mapping[str, Columns]]
) -> dict[str, Columns]:
    groups: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for question, parts in other.items():
        for part, columns in parts.items():
            theirs = first.get(question, {}).get(part, {})
            for name in columns.keys() & theirs.keys():
                count = columns[name].count
                if not count:  # a question without gold paragraphs has no recall
                    continue
                group = ((columns[name].value - theirs[name].value) * count, count)
                groups.setdefault(part, {}).setdefault(name, []).append(group)
    names = ("EM", "F1", "substring", *(f"recall@{cut}" for cut in _CUTS))
    return {
        part: {name: Estimate.of(found[name]) for name in names if name in found}
        for part, found in sorted(groups.items())
    }
