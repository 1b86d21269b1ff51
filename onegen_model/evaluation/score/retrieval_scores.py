"""Scores of rankings: recall of gold paragraphs by hop, and trec_eval's metrics."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

from onegen_model.evaluation.ask.ranking import DEPTH
from onegen_model.evaluation.score.cases import Case, Columns
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.ranking_metrics import Unit, rank_metrics

CUTS = (1, 2, 5, 10)
Wanted = Callable[[int, str], bool]


def every_hop(_hop: int, _paragraph: str) -> bool:
    return True


def with_gold(cases: Iterable[Case]) -> list[Case]:
    """The cases that have a ranking and gold paragraphs to find in it."""
    return [case for case in cases if case.ranking and case.question.hops]


def score_rankings(cases: Sequence[Case]) -> Columns:
    """Recall of each hop's gold paragraph at its own retrieval; metrics of the fused ranking."""
    ranked = with_gold(cases)
    if not ranked:
        return {}
    recalls = {f"recall@{cut}": hop_recall(ranked, cut) for cut in (1, 5)}
    fused = {str(at): (case.question.gold, fuse(case.ranked)) for at, case in enumerate(ranked)}
    return {**recalls, f"all gold@{CUTS[2]}": all_recall(ranked, CUTS[2]), **_trec(fused)}


def fuse(hops: Sequence[Sequence[str]]) -> list[str]:
    """One ranking of a question: the first paragraph of each retrieval, then the second, …"""
    ranks = (one for rank in zip_longest(*hops) for one in rank if one is not None)
    return list(dict.fromkeys(ranks))[:DEPTH]


def _trec(units: Mapping[str, Unit]) -> Columns:
    """Means over units; those whose names agree up to the first space are one group."""
    values: dict[str, dict[str, list[float]]] = {}
    for name, metrics in rank_metrics(units).items():
        for metric, value in metrics.items():
            groups = values.setdefault(metric, {})
            groups.setdefault(name.partition(" ")[0], []).append(value)
    return {
        metric: Estimate.of((sum(group), len(group)) for group in groups.values())
        for metric, groups in values.items()
    }


def hop_recall(cases: Iterable[Case], cut: int, wanted: Wanted = every_hop) -> Estimate:
    """Share of hops with their gold paragraph among the first `cut`, for hops that are `wanted`."""
    groups = []
    for case in cases:
        hits = [
            gold in case.ranked_at(hop)[:cut]
            for hop, gold in enumerate(case.question.hops)
            if wanted(hop, gold)
        ]
        groups.append((sum(hits), len(hits)))
    return Estimate.of(groups)


def support_recall(cases: Iterable[Case], cut: int) -> Estimate:
    """Share of gold paragraphs among the first `cut` of any retrieval of the question."""
    groups = [
        (len(case.question.gold & _found(case, cut)), len(case.question.gold)) for case in cases
    ]
    return Estimate.of(groups)


def any_recall(cases: Iterable[Case], hop: int, cut: int) -> Estimate:
    """Share of questions with any gold paragraph among the first `cut` of retrieval `hop`."""
    return Estimate.of(
        (not case.question.gold.isdisjoint(case.ranked_at(hop)[:cut]), 1) for case in cases
    )


def all_recall(cases: Iterable[Case], cut: int, hop: int | None = None) -> Estimate:
    """Share of questions whose retrievals up to `hop` (None: all) found the gold of these hops."""
    end = None if hop is None else hop + 1
    return Estimate.of(
        (set(case.question.hops[:end]) <= _found(case, cut, end), 1) for case in cases
    )


def _found(case: Case, cut: int, end: int | None = None) -> set[str]:
    return {paragraph for ranked in case.ranked[:end] for paragraph in ranked[:cut]}


def hop_metrics(cases: Sequence[Case], wanted: Wanted = every_hop) -> Columns:
    """Metrics with a hop's gold paragraph as the only relevant one, so that MAP equals MRR."""
    units: dict[str, Unit] = {
        f"{at} {hop}": (frozenset([gold]), case.ranked_at(hop))
        for at, case in enumerate(cases)
        for hop, gold in enumerate(case.question.hops)
        if wanted(hop, gold)
    }
    return _trec(units) if units else {}
