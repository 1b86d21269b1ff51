"""Plain mappings to settings: pydantic checks them, and each problem is one line of the error."""

import dataclasses
import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from onegen_model.errors import InvalidInputError

S = TypeVar("S")

# For `__pydantic_config__` of a dataclass whose keys a user writes.
CHECKED = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

# YAML 1.1 reads 1e-3 as text: it wants the dot.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_EXPECTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text",
}


def as_number(value: Any) -> Any:
    """The number that YAML read as text; any other value unchanged."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _numbers(plain: Any) -> Any:
    """The same for the values of a mapping."""
    if not isinstance(plain, dict):
        return plain
    return {name: as_number(value) for name, value in plain.items()}


def _file_name(value: Any) -> Any:
    if value == "":
        raise PydanticCustomError("expected", "a file name")
    return value


Number = Annotated[float, BeforeValidator(as_number)]
FileName = Annotated[Path, BeforeValidator(_file_name)]
Arguments = Annotated[Mapping[str, Any], BeforeValidator(_numbers)]


def build(cls: type[S], plain: object, where: str) -> S:
    """An instance of the dataclass `cls`, with the dataclasses inside it.

    Raises InvalidInputError with one line for each unknown or missing key and each value of
    another kind.
    """
    try:
        # As JSON, in which a path is text and a tuple is a list.
        return TypeAdapter(cls).validate_json(json.dumps(plain, default=str))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise InvalidInputError("\n".join(_line(one, cls, where) for one in problems)) from error


def _line(problem: ErrorDetails, cls: type, where: str) -> str:
    """The line of one problem; `where` names the file."""
    *groups, key = ("", *problem["loc"])
    names = [str(name) for name in groups if name]
    group = ": ".join([where, *names])
    kind, value = problem["type"], problem["input"]
    if kind == "unexpected_keyword_argument":
        known = dataclasses.fields(plain_type(type_at(cls, names)))
        return _unknown_key(str(key), [field.name for field in known], group)
    if kind == "missing":
        return f"{group} has no key {key!r}; expected one; add it"
    if kind == "value_error":  # of `__post_init__`, with its own advice
        return f"{group}: {f'{key}: ' if key else ''}{problem['ctx']['error']}"
    if kind in ("dataclass_type", "dict_type"):
        name = f"{group}: {key}" if key else group
        return f"{name} is not a mapping; expected `key: value` lines; write them as such"
    if kind == "literal_error":
        choices = ", ".join(re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
        return f"{group}: {key} is {value!r}; expected one of {choices}; choose one"
    expected = _EXPECTED.get(kind, problem["msg"])
    return f"{group}: {key} is {value!r}; expected {expected}; change the value"


def type_at(kind: Any, location: Iterable[int | str]) -> Any:
    """The annotation that a location of a problem leads to, with its metadata."""
    for step in location:
        owner = plain_type(kind)
        if isinstance(step, int):
            kind = get_args(owner)[0]
        else:
            kind = get_type_hints(owner, include_extras=True)[step]
    return kind


def plain_type(kind: Any) -> Any:
    """An annotation without its metadata, and without None."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        return plain_type(get_args(kind)[0])
    return kind


def _unknown_key(name: str, known: Collection[str], where: str) -> str:
    near = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean {near[0]!r}?" if near else "`onegen train --keys` lists them"
    return f"{where} has the key {name!r}; expected one of the known ones; {advice}"


def require_known(plain: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise InvalidInputError for unknown keys; it names the most similar known ones."""
    if unknown := [_unknown_key(name, known, where) for name in plain if name not in known]:
        raise InvalidInputError("\n".join(unknown))


def require_at_least(least: int, name: str, value: int) -> None:
    """Raise InvalidInputError for a setting that is below its least value."""
    if value < least:
        raise InvalidInputError(f"{name} is {value}; expected {least} or more; change the value")
