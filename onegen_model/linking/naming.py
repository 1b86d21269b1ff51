"""What the names of entities add to the cosines of their link embeddings."""

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
    """Those that were found, and others that have the surface as a name, best first.

    The scores stay what they are. Where they do not descend, the order is not theirs, and it stays.
    """
    weight = params.name_weight
    if not weight or any(not one.score >= other.score for one, other in pairwise(found)):
        return list(found)
    known = {one.passage.id for one in found}
    hits = [*found, *(one for one in named if one.passage.id not in known)]
    return sorted(hits, key=lambda one: -one.score - weight * name_similarity(surface, one.passage))
