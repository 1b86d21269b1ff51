"""Filters of the core in the language of LlamaIndex."""

from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from onegen_integrations.shared.filter_terms import (
    OPPOSITES,
    Group,
    Term,
    inexact_in_chroma,
    misses_names,
    to_tree,
)
from onegen_model.errors import InvalidInputError

_OPERATORS = {
    "$eq": FilterOperator.EQ,
    "$ne": FilterOperator.NE,
    "$gt": FilterOperator.GT,
    "$gte": FilterOperator.GTE,
    "$lt": FilterOperator.LT,
    "$lte": FilterOperator.LTE,
    "$in": FilterOperator.IN,
    "$nin": FilterOperator.NIN,
    "$contains": FilterOperator.CONTAINS,
}


_CORE_OPERATORS = {theirs: ours for ours, theirs in _OPERATORS.items()}


def to_metadata_filters(filter: Mapping[str, Any], store: object) -> MetadataFilters:
    """The filters that mean in a store what `filter` means in the core.

    Raises InvalidInputError for a condition that means something else there.
    """
    tree = to_tree(filter)
    group = tree if isinstance(tree, Group) else Group("and", (tree,))
    return _to_filters(group, type(store).__name__)


def _to_filters(group: Group, store: str) -> MetadataFilters:
    members = [
        _to_filters(one, store) if isinstance(one, Group) else _to_filter(one, store)
        for one in group.members
    ]
    return MetadataFilters(filters=members, condition=FilterCondition(group.joined_by))


def _to_filter(term: Term, store: str) -> MetadataFilter:
    why = inexact_in_chroma(term) if store == "ChromaVectorStore" else misses_names(term)
    if not why and (term.value is None or not isinstance(term.name, str)):
        why = "it compares text, numbers and lists under names that are text"
    if why:
        raise term.refuse(store, why)
    operator = OPPOSITES[term.operator] if term.is_negated else term.operator
    return MetadataFilter(key=term.name, value=term.value, operator=_OPERATORS[operator])


def to_core_filter(filters: MetadataFilters | None) -> dict[str, Any]:
    """The filter of the core that these filters are; raises InvalidInputError if there is none."""
    if filters is None or not filters.filters:
        return {}
    members = [
        to_core_filter(one) if isinstance(one, MetadataFilters) else _to_core_condition(one)
        for one in filters.filters
    ]
    if filters.condition == FilterCondition.OR:
        return {"$or": members}
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": members}}
    return {"$and": members}


def _to_core_condition(one: MetadataFilter) -> dict[str, Any]:
    operator = _CORE_OPERATORS.get(one.operator or FilterOperator.EQ)
    if operator is None:
        raise InvalidInputError(
            f"The filter operator {one.operator.value!r} of {one.key!r}; expected one of "
            f"{', '.join(known.value for known in _CORE_OPERATORS)}; rewrite the filter"
        )
    return {one.key: {operator: one.value}}
