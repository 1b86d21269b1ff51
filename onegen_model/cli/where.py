"""`--where`: a filter over the metadata of passages, as one types it."""

import difflib
import json
import re
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.events import Passage

_OPERATORS = {
    ">=": "$gte",
    "<=": "$lte",
    "!=": "$ne",
    "==": "$eq",
    "=": "$eq",
    ">": "$gt",
    "<": "$lt",
    "~": "$contains",
}
_SIGNS = ("<", ">", "=", "~")
_CONDITION = re.compile(
    r"\s*(?P<name>[^<>=!~]+?)\s*(?P<operator>{})(?P<value>.*)".format(
        "|".join(map(re.escape, _OPERATORS))
    ),
    re.DOTALL,
)
_AMONG = re.compile(r"\s*(?P<name>\S+)\s+in\s+(?P<values>.+)", re.DOTALL)
_EXPECTED = (
    "expected NAME=VALUE, with =, !=, <, <=, >, >=, ~ (contains) or `in A,B`, or a JSON object"
)


def add_where(parser: ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="search only passages with this metadata: 'year>=2020', 'lang in en,de', "
        "'onegen.source~handbook', or a filter in JSON; all of several must hold (default: none)",
    )


def parse_where(conditions: Sequence[str]) -> dict[str, Any] | None:
    """The filter of all conditions together; raises InvalidInputError for one that is none."""
    from onegen_model.retrieval.filters import matches_filter

    filters = list(map(_parse, conditions))
    for one in filters:
        matches_filter({}, one)
    return {"$and": filters} if len(filters) > 1 else next(iter(filters), None)


def require_known_names(filter: Mapping[str, Any] | None, passages: Iterable["Passage"]) -> None:
    """Raise InvalidInputError for a name that no passage has: its filter would find nothing."""
    from onegen_model.retrieval.filters import ABSENT, filter_names, find_value

    missing = filter_names(filter)
    known: set[str] = set()
    for passage in passages:
        if not missing:
            return
        missing = {name for name in missing if find_value(passage.metadata, name) is ABSENT}
        known.update(_names_in(passage.metadata))
    if missing:
        name = min(missing, key=str)
        near = difflib.get_close_matches(str(name), known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "correct the name"
        raise InvalidInputError(
            f"No passage has the metadata {name!r} that --where asks for; expected one of "
            f"{', '.join(sorted(known)) or 'none: the passages have no metadata'}; {advice}"
        )


def _parse(condition: str) -> dict[str, Any]:
    if condition.lstrip().startswith("{"):
        return _parse_json(condition)
    found = _CONDITION.fullmatch(condition)
    if found and not found["value"].startswith(_SIGNS):  # => is not >=
        return {found["name"]: {_OPERATORS[found["operator"]]: _value(found["value"])}}
    if not found and (found := _AMONG.fullmatch(condition)):
        return {found["name"]: {"$in": _values(found["values"])}}
    raise InvalidInputError(f"--where {condition!r} is no condition; {_EXPECTED}; correct it")


def _parse_json(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"--where {text!r} is not JSON ({error}); {_EXPECTED}; correct it"
        ) from error
    return found


def _value(text: str) -> Any:
    """A number, true, false, null or quoted text as JSON has them; any other text as it is."""
    text = text.strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, list | dict) else value


def _values(text: str) -> list[Any]:
    """Values between commas; text that holds a comma is quoted, as all other texts are then."""
    for listed in (text, f"[{text}]"):
        with suppress(ValueError, RecursionError):
            if isinstance(found := json.loads(listed), list):
                return found
    if '"' in text:
        raise InvalidInputError(
            f"--where has the values {text!r}; expected quotes around each text or around none; "
            'write "A","B"'
        )
    return list(map(_value, text.split(",")))


def _names_in(metadata: Mapping[Any, Any], before: str = "") -> Iterable[str]:
    for name, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _names_in(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"
