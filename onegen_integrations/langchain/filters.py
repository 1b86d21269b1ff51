"""Filters by metadata, as the core understands them, in the languages of the stores.

A filter that the core understands means the same in every store; where a store cannot apply it
exactly it is refused. Any other filter is in the store's own language and reaches the store
unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.documents import Document

from onegen_integrations.shared.filter_terms import (
    OPPOSITES,
    Term,
    Tree,
    inexact_in_chroma,
    to_tree,
)
from onegen_model import matches_filter
from onegen_model.errors import InvalidInputError

FilterAdapter = Callable[[Any], Any]


def for_memory(wanted: Any) -> Any:
    """For InMemoryVectorStore, whose filters are functions of a document.

    Raises InvalidInputError for a mapping with an operator that the core does not have.
    """
    if not isinstance(wanted, Mapping):
        return wanted
    matches_filter({}, wanted)

    def matches(document: Document) -> bool:
        return matches_filter(document.metadata, wanted)

    return matches


def for_faiss(wanted: Any) -> Any:
    """For FAISS, whose own dictionaries treat a missing name as None."""
    if not is_of_the_core(wanted):
        return wanted

    def matches(metadata: dict[str, Any]) -> bool:
        return matches_filter(metadata, wanted)

    return matches


def for_chroma(wanted: Any) -> Any:
    """For Chroma, whose mappings hold one condition each, with several values by `$in` alone.

    Raises InvalidInputError for a condition that means something else there.
    """
    return _to_where(to_tree(wanted)) if is_of_the_core(wanted) else wanted


def _to_where(tree: Tree) -> dict[str, Any]:
    if isinstance(tree, Term):
        return _to_condition(tree)
    if not tree.members:
        raise InvalidInputError(
            "An empty filter inside of another one; expected a condition; leave it out"
        )
    return {f"${tree.joined_by}": list(map(_to_where, tree.members))}


def _to_condition(term: Term) -> dict[str, Any]:
    if why := inexact_in_chroma(term):
        raise term.refuse("Chroma", why)
    operator = OPPOSITES[term.operator] if term.is_negated else term.operator
    return {term.name: term.value if operator == "$eq" else {operator: term.value}}


def is_of_the_core(wanted: Any) -> bool:
    """Whether the core understands a filter."""
    try:
        return isinstance(wanted, Mapping) and matches_filter({}, wanted) in (True, False)
    except InvalidInputError:
        return False
