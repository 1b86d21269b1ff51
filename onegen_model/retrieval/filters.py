"""Filters over the metadata of passages.

A filter maps names of metadata to a value, to a list of values of which any will do, or to a
mapping of operators that must all hold. All names must match, and a name that a passage lacks
matches nothing, not even None or `$ne`:

    {"lang": "en", "year": {"$gte": 2020, "$lt": 2024}, "kind": ["town", "river"]}

`$and` and `$or` hold lists of filters, and `$not` holds one, beside names or inside of each other.
`$not` is the plain negation: it matches a passage that lacks the name, too.

    {"$or": [{"lang": "en"}, {"tags": {"$contains": "old"}}], "$not": {"year": 2020}}

A name with dots that a passage lacks is looked for inside of mappings: `onegen.source` is the file
of a passage.
"""

import operator
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from onegen_model.errors import InvalidInputError

_LISTS = (list, tuple, set, frozenset)
# Values of these types are equal exactly when type and value are.
_PLAIN = (str, int, float, bool, bytes, date, datetime, type(None))
# The last two are the small and the full-width dollar sign: refused as operators, not compared.
_DOLLARS = ("$", "\ufe69", "\uff04")
_GROUPS = ("$and", "$or", "$not")
_MAX_DEPTH = 100  # far below what Python's stack allows
# The value of a name that a passage lacks.
ABSENT = object()
Matches = Callable[[Mapping[str, Any]], bool]
_Test = Callable[[Any], bool]


def matches_filter(metadata: Mapping[str, Any], filter: Mapping[str, Any] | None) -> bool:
    """Whether metadata passes a filter (None: any does); raises InvalidInputError for a filter
    with an unknown operator.
    """
    return compile_filter(filter)(metadata)


def compile_filter(filter: Mapping[str, Any] | None) -> Matches:
    """A function of metadata that is faster than `matches_filter` for many passages."""
    _require_shallow(filter)
    return _compile({} if filter is None else filter)


def _require_shallow(filter: Any) -> None:
    level, depth = [filter], 0
    while level := [
        inner
        for value in level
        if isinstance(value, Mapping | list | tuple)
        for inner in (value.values() if isinstance(value, Mapping) else value)
    ]:
        if (depth := depth + 1) > _MAX_DEPTH:
            raise InvalidInputError(
                f"A filter is nested more than {_MAX_DEPTH} levels deep; expected a shallow one; "
                "write it with fewer groups"
            )


def _compile(filter: Any) -> Matches:
    if not isinstance(filter, Mapping):
        raise InvalidInputError(
            f"A filter of type {type(filter).__name__}; expected a mapping of metadata names to "
            'values; write it as {"name": value}'
        )
    return _all([_condition(name, wanted) for name, wanted in filter.items()])


def filter_names(filter: Mapping[str, Any] | None) -> set[Any]:
    """The names of metadata that a valid filter asks for."""
    names: set[Any] = set()
    for name, wanted in (filter or {}).items():
        if name == "$not":
            names |= filter_names(wanted)
        elif name in _GROUPS:
            names = names.union(*map(filter_names, wanted))
        else:
            names.add(name)
    return names


def find_value(metadata: Mapping[str, Any], name: Any) -> Any:
    """The value of a name, inside of mappings too; ABSENT without one."""
    if name in metadata:
        return metadata[name]
    first, dot, rest = name.partition(".") if isinstance(name, str) else (name, "", "")
    inner = metadata.get(first) if dot else None
    return find_value(inner, rest) if isinstance(inner, Mapping) else ABSENT


def _all(tests: Sequence[Matches]) -> Matches:
    return lambda metadata: all(test(metadata) for test in tests)


def _any(tests: Sequence[Matches]) -> Matches:
    return lambda metadata: any(test(metadata) for test in tests)


def _condition(name: object, wanted: Any) -> Matches:
    if name == "$not":
        inner = _compile(wanted)
        return lambda metadata: not inner(metadata)
    if name in _GROUPS:
        if not isinstance(wanted, list | tuple) or not wanted:
            raise InvalidInputError(
                f"The filter operator {name} has {wanted!r}; expected a list of filters; write "
                f'{{"{name}": [{{"name": value}}, …]}}'
            )
        parts = list(map(_compile, wanted))
        return _all(parts) if name == "$and" else _any(parts)
    test = _test(name, wanted)

    def matches(metadata: Mapping[str, Any]) -> bool:
        value = find_value(metadata, name)
        return value is not ABSENT and test(value)

    return matches


def _test(name: object, wanted: Any) -> _Test:
    if isinstance(name, str) and name.startswith(_DOLLARS):
        raise _unknown(name, "filter", "inside of a name, and $and, $or, $not outside")
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


def _contains(value: Any, wanted: Any) -> bool:
    """Whether a list has an item, or a text a part."""
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, _LISTS) and _is_among(wanted, value)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$contains": _contains,
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
    _require_shallow(filter)
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
