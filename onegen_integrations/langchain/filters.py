"""Filters by metadata, as the core understands them, in the languages of the stores.

A filter that the core understands means the same in every store. Any other filter is in the store's
own language and reaches the store unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.documents import Document

from onegen_model import matches_filter
from onegen_model.errors import InvalidInputError

FilterAdapter = Callable[[Any], Any]
_SEVERAL = (list, tuple, set, frozenset)


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
    if not _is_of_the_core(wanted):
        return wanted

    def matches(metadata: dict[str, Any]) -> bool:
        return matches_filter(metadata, wanted)

    return matches


def for_chroma(wanted: Any) -> Any:
    """For Chroma, whose mappings hold one condition each, with several values by `$in` alone."""
    if not _is_of_the_core(wanted):
        return wanted
    conditions = [
        {name: condition} for name, value in wanted.items() for condition in _conditions(value)
    ]
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _conditions(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [{operator: inner} for operator, inner in value.items()]
    return [{"$in": list(value)}] if isinstance(value, _SEVERAL) else [value]


def _is_of_the_core(wanted: Any) -> bool:
    try:
        return isinstance(wanted, Mapping) and matches_filter({}, wanted) in (True, False)
    except InvalidInputError:
        return False
