"""What was right of the mentions of each document, and means of it.

A document is the unit of sampling: its mentions are alike. Precision, recall and F1 are micro
averages, quotients of two sums over documents, with the standard error of such a quotient.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from onegen_model.evaluation.linking.documents import LinkingDocument, Span
from onegen_model.evaluation.linking.parts import Wanted
from onegen_model.evaluation.linking.predictions import Prediction
from onegen_model.evaluation.score.estimate import Estimate

# Document -> what was right, and of how many.
Counts = dict[str, tuple[float, float]]


def mean(counts: Counts) -> Estimate:
    """The sum of what was right through the sum of all, clustered by document."""
    return Estimate.of(counts.values())


def difference(first: Counts, other: Counts) -> Estimate:
    """The first mean less the other one, with the standard error of the paired difference.

    Document by document: what one system gains in a document is held against what the other one
    gains there. For two accuracies over the same mentions this is the mean of the differences of
    the mentions.
    """
    means = mean(first), mean(other)
    spread = [
        _deviation(first.get(name), means[0]) - _deviation(other.get(name), means[1])
        for name in {**first, **other}
    ]
    error = sqrt(sum(one * one for one in spread)) if len(spread) > 1 else None
    return Estimate(means[0].value - means[1].value, error, means[0].count)


def _deviation(counted: tuple[float, float] | None, estimate: Estimate) -> float:
    if counted is None or not estimate.count:
        return 0.0
    right, cases = counted
    return (right - estimate.value * cases) / estimate.count


def count_entities(
    documents: Iterable[LinkingDocument],
    predictions: Mapping[str, Prediction],
    wanted: Wanted,
    nil_threshold: float | None = None,
) -> Counts:
    """The wanted mentions, and those of them with exactly their span and entity."""
    found = {}
    for one in documents:
        best = predictions[one.id].best(nil_threshold)
        gold = [mention for mention in one.mentions if wanted(one, mention)]
        right = sum(best.get(mention.span) == mention.entity_id for mention in gold)
        found[one.id] = (float(right), float(len(gold)))
    return found


def count_listed(
    documents: Iterable[LinkingDocument], predictions: Mapping[str, Prediction], wanted: Wanted
) -> Counts:
    """The wanted mentions, and those of them whose entity is among all that were found for them."""
    found = {}
    for one in documents:
        listed = predictions[one.id].listed()
        gold = [mention for mention in one.mentions if wanted(one, mention)]
        right = sum(mention.entity_id in listed.get(mention.span, ()) for mention in gold)
        found[one.id] = (float(right), float(len(gold)))
    return found


def count_found(
    documents: Iterable[LinkingDocument],
    predictions: Mapping[str, Prediction],
    wanted: Wanted,
    *,
    overlapping: bool = False,
) -> Counts:
    """The wanted mentions, and those of them that were found; `overlapping`: or a part of them."""
    found = {}
    for one in documents:
        hit = matched([mention.span for mention in one.mentions], predictions[one.id].spans)
        hit = hit if overlapping else {gold: other for gold, other in hit.items() if gold == other}
        gold = [mention for mention in one.mentions if wanted(one, mention)]
        found[one.id] = (float(sum(mention.span in hit for mention in gold)), float(len(gold)))
    return found


def matched(gold: Sequence[Span], found: Collection[Span]) -> dict[Span, Span]:
    """Pairs of a marked and a found mention that overlap; each is in one pair, and equal ones are
    paired first."""
    pairs = {span: span for span in gold if span in found}
    left = sorted(set(found) - pairs.keys())
    for span in sorted(set(gold) - pairs.keys()):
        near = next((one for one in left if one[0] < span[1] and span[0] < one[1]), None)
        if near is not None:
            pairs[span] = near
            left.remove(near)
    return pairs


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision, recall and F1 of what was found in texts whose every mention is marked."""

    precision: Counts
    recall: Counts
    f1: Counts

    @classmethod
    def of(cls, counted: Mapping[str, tuple[float, float, float]]) -> "Quality":
        """Of what was right, found and marked in each document."""
        return cls(
            {name: (right, found) for name, (right, found, _) in counted.items()},
            {name: (right, gold) for name, (right, _, gold) in counted.items()},
            {name: (2 * right, found + gold) for name, (right, found, gold) in counted.items()},
        )


def found_quality(
    documents: Iterable[LinkingDocument],
    predictions: Mapping[str, Prediction],
    *,
    overlapping: bool = False,
) -> Quality:
    """Of mentions, whatever their entity."""
    counted = {}
    for one in documents:
        gold, spans = [mention.span for mention in one.mentions], predictions[one.id].spans
        pairs = matched(gold, spans)
        right = sum(overlapping or span == other for span, other in pairs.items())
        counted[one.id] = (float(right), float(len(spans)), float(len(gold)))
    return Quality.of(counted)


def linked_quality(
    documents: Iterable[LinkingDocument],
    predictions: Mapping[str, Prediction],
    known: Collection[str],
    nil_threshold: float | None = None,
) -> Quality:
    """Of exact spans with their entities, among marked mentions whose entity is `known` (InKB).

    A link is not counted where a mention without a known entity has exactly its span: it can be
    neither right nor wrong.
    """
    counted = {}
    for one in documents:
        gold = {mention.span: mention.entity_id for mention in one.mentions}
        links = predictions[one.id].best(nil_threshold)
        links = {
            span: name for span, name in links.items() if span not in gold or gold[span] in known
        }
        inside = {span: name for span, name in gold.items() if name in known}
        right = sum(inside.get(span) == name for span, name in links.items())
        counted[one.id] = (float(right), float(len(links)), float(len(inside)))
    return Quality.of(counted)
