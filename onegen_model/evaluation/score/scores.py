"""All tables, from rows of questions, traces and rankings."""

from collections.abc import Sequence
from functools import partial

from onegen_model.evaluation.score.answer_scores import score_answers, score_behaviour
from onegen_model.evaluation.score.cases import Case, Columns, Row
from onegen_model.evaluation.score.differences import score_differences
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.retrieval_scores import (
    CUTS,
    all_recall,
    any_recall,
    hop_metrics,
    hop_recall,
    score_rankings,
    support_recall,
    with_gold,
)

# Table, then row, then column.
Scores = dict[str, dict[str, Columns]]
QUALITY, BEHAVIOUR = "Answers and retrieval", "Behaviour and cost"
HOPS, KINDS, FAMILIAR = "Retrieval by hop", "By kind of question", "Gold in training or not"
DIFFERENCES = "Less the first run, question by question"


def score(rows: Sequence[Row], trained: frozenset[str] | None = None) -> Scores:
    """All tables; `trained` are the paragraphs that were gold in training."""
    kinds = [part for row in rows for part in _by_kind(row)]
    tables: Scores = {
        QUALITY: {row.name: _quality(row) for row in rows},
        DIFFERENCES: score_differences(rows),
        BEHAVIOUR: {row.name: score_behaviour(row) for row in rows},
        HOPS: {name: columns for row in rows for name, columns in _by_hop(row)},
        KINDS: {part.name: _quality(part) | _emission(part) for part in kinds},
    }
    if trained is not None:
        tables[FAMILIAR] = {
            name: columns for row in rows for name, columns in _by_familiarity(row, trained)
        }
    filled = {
        title: {name: columns for name, columns in table.items() if columns}
        for title, table in tables.items()
    }
    return {title: table for title, table in filled.items() if table}


def _quality(row: Row) -> Columns:
    return {
        "questions": Estimate(len(row.cases), None, len(row.cases)),
        **score_answers(row.cases, row.frame),
        **score_rankings(row.cases),
    }


def _emission(row: Row) -> Columns:
    behaviour = score_behaviour(row)
    return {name: behaviour[name] for name in ("retrieves", "retrievals") if name in behaviour}


def _by_kind(row: Row) -> list[Row]:
    parts: dict[str, list[Case]] = {}
    for case in row.cases:
        question = case.question
        parts.setdefault(question.dataset or "no dataset", []).append(case)
        if question.type:
            parts.setdefault(f"{question.dataset} {question.type}".strip(), []).append(case)
    return [row.of(name, parts[name]) for name in sorted(parts)] if len(parts) > 1 else []


def _by_hop(row: Row) -> list[tuple[str, Columns]]:
    ranked = with_gold(row.cases)
    longest = max((len(case.question.hops) for case in ranked), default=0)
    found = []
    for hop in range(longest):
        cases = [case for case in ranked if hop < len(case.question.hops)]
        found.append((f"{row.name}, hop {hop + 1}", _hop_columns(cases, hop)))
    if longest > 1:
        columns = {f"recall@{cut}": hop_recall(ranked, cut) for cut in CUTS}
        columns |= {f"support@{cut}": support_recall(ranked, cut) for cut in (1, 5)}
        columns |= {f"all gold@{cut}": all_recall(ranked, cut) for cut in (1, 5)}
        found.append((f"{row.name}, all hops", columns | hop_metrics(ranked)))
    return found


def _hop_columns(cases: Sequence[Case], hop: int) -> Columns:
    def wanted(at: int, _: str) -> bool:
        return at == hop

    return {
        **{f"recall@{cut}": hop_recall(cases, cut, wanted) for cut in CUTS},
        **{f"any gold@{cut}": any_recall(cases, hop, cut) for cut in (1, 5)},
        **{f"all gold@{cut}": all_recall(cases, cut, hop) for cut in (1, 5)},
        **hop_metrics(cases, wanted),
    }


def _by_familiarity(row: Row, trained: frozenset[str]) -> list[tuple[str, Columns]]:
    """Recall split by paragraph; answers split by whether any gold paragraph was in training."""
    known = [case for case in row.cases if case.question.hops]
    ranked = with_gold(known)
    found = []
    for name, familiar in (("gold in training", True), ("never in training", False)):
        wanted = partial(_is_familiar, trained, familiar)
        cases = [case for case in known if bool(case.question.gold & trained) is familiar]
        columns = score_answers(cases, row.frame)
        if ranked:
            columns |= {f"recall@{cut}": hop_recall(ranked, cut, wanted) for cut in CUTS}
            columns |= hop_metrics(ranked, wanted)
        found.append((f"{row.name}, {name}", columns))
    return found


def _is_familiar(trained: frozenset[str], familiar: bool, _hop: int, paragraph: str) -> bool:
    return (paragraph in trained) is familiar
