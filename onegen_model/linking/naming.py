"""What the names of entities add to their scores."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from onegen_model.events import Query, ScoredPassage
from onegen_model.linking.params import LinkingParams
from onegen_model.retrieval.names import name_similarity

# How many of the nearest entities the names put into another order.
REORDERED = 20


def widened(query: Query, params: LinkingParams, among: Sequence[str] | None) -> Query:
    """The query that finds what `by_name` reorders: all of a list, or more than are reported."""
    if not params.name_weight:
        return query
    return replace(query, top_k=max(query.top_k, REORDERED if among is None else len(among)))


def by_name(
    surface: str,
    found: Sequence[ScoredPassage],
    named: Sequence[ScoredPassage],
    params: LinkingParams,
) -> list[ScoredPassage]:
    """Those that were found, and others that have the surface as a name, best first; their scores
    hold what the name adds.

    Where scores do not descend, or are all 0 because a retriever knows none, nothing is added: the
    order is not theirs.
    """
    weight, scores = params.name_weight, [one.score for one in found]
    descend = all(one >= other for one, other in pairwise(scores))
    if not weight or not descend or (scores and not any(scores)):
        return list(found)
    known = {one.passage.id for one in found}
    hits = [*found, *(one for one in named if one.passage.id not in known)]
    summed = (
        replace(one, score=one.score + weight * name_similarity(surface, one.passage))
        for one in hits
    )
    return sorted(summed, key=lambda one: -one.score)
