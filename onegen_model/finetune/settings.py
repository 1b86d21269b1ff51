"""Plain mappings to settings: every key known, every value of its kind, or one error."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from onegen_model.errors import InvalidInputError

S = TypeVar("S")

# YAML 1.1 reads 1e-3 as text: it wants the dot.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def build(cls: type[S], plain: object, where: str) -> S:
    """An instance of the dataclass `cls`, its nested dataclasses included.

    Raises InvalidInputError naming an unknown or missing key, or a value of another kind.
    """
    checked = require_mapping(plain, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    require_known(checked, fields, where)
    unset = dataclasses.MISSING
    needed = {n for n, f in fields.items() if f.default is unset and f.default_factory is unset}
    if missing := sorted(needed - set(checked)):
        raise InvalidInputError(f"{where} has no key {missing[0]!r}; expected one; add it")
    values = {
        name: _converted(value, fields[name].type, f"{where}: {name}")
        for name, value in checked.items()
    }
    try:
        return cls(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from error


def require_mapping(plain: object, where: str) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise InvalidInputError(f"{where} is not a mapping; expected `key: value` lines; mend it")
    return plain


def require_known(plain: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise InvalidInputError for the first key that is not known, with the nearest that is."""
    for name in plain:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1) or sorted(known)
            raise InvalidInputError(
                f"{where} has the key {name!r}; expected one of the known ones; did you mean "
                f"{near[0]!r}?"
            )


def require_at_least(least: int, name: str, value: int) -> None:
    """Raise InvalidInputError for a setting that is below its least value."""
    if value < least:
        raise InvalidInputError(f"{name} is {value}; expected {least} or more; change the value")


def as_number(value: Any) -> Any:
    """A number that YAML took for text; anything else as it is."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _converted(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        return _choice(value, get_args(kind), where)
    if value is None and type(None) in get_args(kind):
        return None
    options = [option for option in get_args(kind) or (kind,) if option is not type(None)]
    if isinstance(options[0], type) and dataclasses.is_dataclass(options[0]):
        return build(options[0], value, where)
    if get_origin(kind) is Mapping:
        return {name: as_number(item) for name, item in require_mapping(value, where).items()}
    return _scalar(as_number(value), options[0], where)


def _choice(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value not in choices:
        raise InvalidInputError(
            f"{where} is {value!r}; expected one of {', '.join(map(str, choices))}; choose one"
        )
    return value


def _scalar(value: Any, kind: Any, where: str) -> Any:
    accepted: dict[type, tuple[type, ...]] = {float: (int, float)}
    is_stray_bool = isinstance(value, bool) and kind is not bool
    if kind.__name__ == "Path" and isinstance(value, str) and value:
        return kind(value)
    if is_stray_bool or not isinstance(value, accepted.get(kind, (kind,))):
        raise InvalidInputError(
            f"{where} is {value!r}; expected a {kind.__name__}; change the value"
        )
    return float(value) if kind is float else value
