"""Filters in OpenAI's form to those of the core."""

from collections.abc import Mapping
from typing import Any

from onegen_integrations.server.errors import ParameterError

_COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte")
_MEMBERSHIPS = ("in", "nin")
_GROUPS = ("and", "or")
_DEEPEST = 20


def to_filter(plain: Any, param: str = "filters", depth: int = 0) -> dict[str, Any]:
    """`{"type": "eq", "key": …, "value": …}` or `{"type": "and", "filters": […]}` as a filter.

    As in every filter of this library, an attribute that a passage lacks matches nothing, not even
    `ne` and `nin`. Raises ParameterError that names the part which cannot be used.
    """
    if not isinstance(plain, Mapping):
        raise _wrong(param, "is no mapping", '{"type": "eq", "key": "year", "value": 2024}')
    if depth > _DEEPEST:
        raise _wrong("filters", f"is nested more than {_DEEPEST} levels deep", "a shallow one")
    kind = plain.get("type")
    if kind in _GROUPS:
        return {f"${kind}": _members(plain, param, depth)}
    if kind not in _COMPARISONS + _MEMBERSHIPS:
        known = ", ".join(_COMPARISONS + _MEMBERSHIPS + _GROUPS)
        raise _wrong(f"{param}.type", f"is {str(kind)[:80]!r}", f"one of {known}")
    key, value = plain.get("key"), plain.get("value")
    if not isinstance(key, str) or not key or key.startswith(("$", "\ufe69", "\uff04")):
        raise _wrong(f"{param}.key", "is no name of an attribute", "one that begins with no $")
    values = value if kind in _MEMBERSHIPS else [value]
    if not isinstance(values, list) or not all(isinstance(v, str | int | float) for v in values):
        what = "a list of texts, numbers or truth values" if kind in _MEMBERSHIPS else "one value"
        raise _wrong(f"{param}.value", f"does not suit {kind!r}", what)
    return {key: {f"${kind}": value}}


def _members(plain: Mapping[str, Any], param: str, depth: int) -> list[dict[str, Any]]:
    inner = plain.get("filters")
    if not isinstance(inner, list) or not inner:
        raise _wrong(f"{param}.filters", "is no list of filters", "at least one filter")
    return [to_filter(one, f"{param}.filters.{at}", depth + 1) for at, one in enumerate(inner)]


def _wrong(param: str, what: str, expected: str) -> ParameterError:
    return ParameterError(f"{param} {what}; expected {expected}; correct it", param=param)
