"""What may enter a passage index, and which passages a filter lets through."""

import json
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.retrieval.index_files import passage_line

_NORM_TOLERANCE = 1e-2


def same_content(one: Passage, other: Passage) -> bool:
    return (one.title, one.text) == (other.title, other.text)


def matches(passage: Passage, filter: Mapping[str, Any]) -> bool:
    for name, wanted in filter.items():
        if name not in passage.metadata:
            return False
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,)
        if not _is_among(passage.metadata[name], values):
            return False
    return True


def _is_among(value: object, values: Collection[Any]) -> bool:
    try:
        return value in values
    except TypeError:  # `values` is a set, and a list is never in one
        return False


def filter_key(filter: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(filter or {}), sort_keys=True, default=repr)


def by_id(passages: Iterable[Passage]) -> dict[str, Passage]:
    given: dict[str, Passage] = {}
    for passage in passages:
        if not isinstance(passage.id, str) or not passage.id:
            raise InvalidInputError(
                f"A passage has the id {passage.id!r}; expected text that is not empty; name it"
            )
        known = given.setdefault(passage.id, passage)
        if known is passage:
            _require_savable(passage)
        elif known != passage:
            raise InvalidInputError(
                f"Two passages have the id {passage.id!r}; expected one of each; rename one"
            )
    return given


def _require_savable(passage: Passage) -> None:
    try:
        passage_line(passage)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Passage {passage.id!r} cannot be saved ({error}); expected UTF-8 text, and metadata "
            "that JSON can hold; convert it first"
        ) from error


def unit_rows(vectors: ArrayLike, count: int, dimension: int) -> NDArray[np.float32]:
    expected = f"float32 unit vectors of shape ({count}, {dimension})"
    try:
        rows = np.asarray(vectors)
    except ValueError as error:
        raise InvalidInputError(
            f"Vectors of different lengths; expected {expected}; embed them with one model"
        ) from error
    if count == 0 and rows.size == 0:
        return np.zeros((0, dimension), dtype=np.float32)
    what = ""
    if rows.dtype not in (np.float32, np.float64):
        what = f"Vectors of type {rows.dtype}"
    elif rows.shape != (count, dimension):
        what = f"Vectors of shape {rows.shape}"
    elif not np.isfinite(rows).all():
        what = "Vectors with NaN or infinite numbers"
    elif np.abs(np.linalg.norm(rows, axis=1) - 1).max() > _NORM_TOLERANCE:
        what = "Vectors that are not normalised"
    if what:
        raise InvalidInputError(f"{what}; expected {expected}; embed them with the index's model")
    return np.ascontiguousarray(rows, dtype=np.float32)


_LISTS = (list, tuple, set, frozenset)
# Values of these types are equal exactly when type and value are.
_PLAIN = (str, int, float, bool, bytes, date, datetime, type(None))
_Test = Callable[[Any], bool]


def matches_filter(metadata: Mapping[str, Any], filter: Mapping[str, Any] | None) -> bool:
    """Whether metadata passes a filter (None: any does); raises InvalidInputError for a filter
    with an unknown operator.
    """
    return compile_filter(filter)(metadata)


def compile_filter(filter: Mapping[str, Any] | None) -> Callable[[Mapping[str, Any]], bool]:
    """A function of metadata that is faster than `matches_filter` for many passages."""
    if not isinstance(filter, Mapping | None):
        raise InvalidInputError(
            f"A filter of type {type(filter).__name__}; expected a mapping of metadata names to "
            'values; write it as {"name": value}'
        )
    tests = [(name, _test(name, wanted)) for name, wanted in (filter or {}).items()]

    def matches(metadata: Mapping[str, Any]) -> bool:
        return all(name in metadata and test(metadata[name]) for name, test in tests)

    return matches


def _test(name: object, wanted: Any) -> _Test:
    if isinstance(name, str) and name.startswith("$"):
        raise _unknown(name, "filter", "names of metadata outside; name each one")
    if isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted):
        tests = [_operator_test(name, key, value) for key, value in wanted.items()]
        return lambda value: all(test(value) for test in tests)
    if isinstance(wanted, _LISTS):
        return lambda value: _is_among2(value, wanted)
    return lambda value: bool(value == wanted)


def _operator_test(name: object, key: object, wanted: Any) -> _Test:
    if key in ("$in", "$nin"):
        if not isinstance(wanted, _LISTS):
            raise InvalidInputError(
                f"The filter operator {key} of {name!r} has {wanted!r}; expected a list of values; "
                f"write [{wanted!r}]"
            )
        return lambda value: _is_among2(value, wanted) is (key == "$in")
    compare = _COMPARISONS.get(str(key))
    if compare is None:
        raise _unknown(key, f"filter of {name!r}", "for a value; use one of these")

    def test(value: Any) -> bool:
        try:
            return bool(compare(value, wanted))
        except TypeError:  # Text is neither above nor below a number.
            return False

    return test


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def _unknown(key: object, where: str, advice: str) -> InvalidInputError:
    known = ", ".join([*_COMPARISONS, "$in", "$nin"])
    return InvalidInputError(f"The {where} has the operator {key!r}; expected {known} {advice}")


def _is_among2(value: object, values: Collection[Any]) -> bool:
    try:
        return value in values
    except TypeError:  # `values` is a set, which never holds a list.
        return False
