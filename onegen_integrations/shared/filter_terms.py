"""A filter of the core as a tree in which only single conditions are negated.

Stores know conditions, "and" and "or" for the most part, and no negation of a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from onegen_model import matches_filter
from onegen_model.errors import InvalidInputError

_SEVERAL = (list, tuple, set, frozenset)
# What negates a condition in stores where it also finds what lacks the name.
OPPOSITES = {"$eq": "$ne", "$in": "$nin"}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `is_negated`: what does not match, a missing name included."""

    name: Any
    operator: str
    value: Any
    is_negated: bool = False

    def refuse(self, store: str, why: str) -> InvalidInputError:
        """The error for a store that cannot apply the condition exactly."""
        shown = f"{'$not ' * self.is_negated}{self.operator}"
        return InvalidInputError(
            f"{store} cannot apply {shown} of {self.name!r} exactly: {why}; expected a filter that "
            "means the same in every store; rewrite it, or use a PassageIndex"
        )


@dataclass(frozen=True, slots=True)
class Group:
    """All ("and") or any ("or") of its members; an empty "and" matches everything."""

    joined_by: Literal["and", "or"]
    members: tuple["Tree", ...]


Tree: TypeAlias = Term | Group


def to_tree(filter: Mapping[str, Any]) -> Tree:
    """The tree of a filter; raises InvalidInputError for one that the core does not have."""
    matches_filter({}, filter)
    return _tree(filter, False)


def misses_names(term: Term) -> str:
    """Why a condition is not exact where `$ne` also finds what lacks the name; empty if it is."""
    if term.operator in ("$ne", "$nin"):
        opposite = "$eq" if term.operator == "$ne" else "$in"
        return (
            f"it finds documents without the name, too; for those as well, negate {opposite} by "
            "$not"
        )
    if term.is_negated and term.operator not in OPPOSITES:
        return "it would leave out documents without the name"
    return ""


def inexact_in_chroma(term: Term) -> str:
    """Why Chroma would not apply a condition as the core does; empty if it would."""
    if why := misses_names(term):
        return why
    if term.operator == "$contains":
        return "it looks into lists and not into text"
    if term.operator in OPPOSITES:
        values = term.value if term.operator == "$in" else [term.value]
        if not values or not all(isinstance(one, str | int | float) for one in values):
            return "it compares text, numbers and truth values"
        return "its values have several types" if len(set(map(type, values))) > 1 else ""
    is_number = isinstance(term.value, int | float) and not isinstance(term.value, bool)
    return "" if is_number else "it orders numbers alone"


def _tree(filter: Mapping[str, Any], is_negated: bool) -> Tree:
    members = [_member(name, wanted, is_negated) for name, wanted in filter.items()]
    return _group("or" if is_negated else "and", members)


def _member(name: Any, wanted: Any, is_negated: bool) -> Tree:
    if name == "$not":
        return _tree(wanted, not is_negated)
    if name in ("$and", "$or"):
        joined_by: Literal["and", "or"] = "and" if (name == "$and") is not is_negated else "or"
        return _group(joined_by, [_tree(one, is_negated) for one in wanted])
    terms = [Term(name, key, value, is_negated) for key, value in _operators(wanted)]
    return _group("or" if is_negated else "and", terms)


def _operators(wanted: Any) -> list[tuple[str, Any]]:
    if isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted):
        return [
            (str(key), list(value) if key in ("$in", "$nin") else value)
            for key, value in wanted.items()
        ]
    return [("$in", list(wanted))] if isinstance(wanted, _SEVERAL) else [("$eq", wanted)]


def _group(joined_by: Literal["and", "or"], members: "list[Term] | list[Tree]") -> Tree:
    return members[0] if len(members) == 1 else Group(joined_by, tuple(members))
