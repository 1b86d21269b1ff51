"""Filters over the metadata of passages.

A filter maps names of metadata to a value, to a list of values of which any will do, or to a
mapping of operators that must all hold. All names must match, and a name that a passage lacks
matches nothing, not even None or `$ne`:

    {"lang": "en", "year": {"$gte": 2020, "$lt": 2024}, "kind": ["town", "river"]}
"""

import operator
from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import date, datetime
from typing import Any

from onegen_model.errors import InvalidInputError

_LISTS = (list, tuple, set, frozenset)
# Values of these types are equal exactly when type and value are.
_PLAIN = (str, int, float, bool, bytes, date, datetime, type(None))
# The last two are the small and the full-width dollar sign: refused as operators, not compared.
_DOLLARS = ("$", "\ufe69", "\uff04")
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
    if isinstance(name, str) and name.startswith(_DOLLARS):
        raise _unknown(name, "filter", "names of metadata outside; name each one")
    if isinstance(wanted, Mapping) and any(str(key).startswith(_DOLLARS) for key in wanted):
        tests = [_operator_test(name, key, value) for key, value in wanted.items()]
        return lambda value: all(test(value) for test in tests)
    if isinstance(wanted, _LISTS):
        return lambda value: _is_among(value, wanted)
    return lambda value: _equals(value, wanted)


def _operator_test(name: object, key: object, wanted: Any) -> _Test:
    if key in ("$in", "$nin"):
        if not isinstance(wanted, _LISTS):
            raise InvalidInputError(
                f"The filter operator {key} of {name!r} has {wanted!r}; expected a list of values; "
                f"write [{wanted!r}]"
            )
        return lambda value: _is_among(value, wanted) is (key == "$in")
    compare = _COMPARISONS.get(str(key))
    if compare is None:
        raise _unknown(key, f"filter of {name!r}", "for a value; use one of these")

    def test(value: Any) -> bool:
        try:
            return bool(compare(value, wanted))
        except (TypeError, ValueError):  # Text is neither above nor below a number.
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


def _is_among(value: object, values: Collection[Any]) -> bool:
    try:
        return value in values
    except (TypeError, ValueError):  # A list is in no set, and arrays compare item by item.
        return any(_equals(value, one) for one in values)


def _equals(value: object, wanted: object) -> bool:
    try:
        return bool(value == wanted)
    except ValueError:  # An array or a number of numpy, compared with a list.
        return False


def filter_key(filter: Mapping[str, Any] | None) -> Hashable:
    """A key that is equal for filters with the same types and values."""
    return _key(filter or {})


def _key(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((type(name), name, _key(inner)) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, set | frozenset):
        return (set, frozenset(map(_key, value)))
    if type(value) in _PLAIN:
        return (type(value), value)
    return (object, id(value))  # Its `__eq__` may be of any kind.
