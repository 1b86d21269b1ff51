"""API keys, each with a scope that its caller cannot widen."""

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onegen_model import matches_filter
from onegen_model.errors import InvalidInputError

Filter = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key. Its callers find only passages that pass `scope`, whatever filter they send."""

    secret: str = field(repr=False)
    name: str = ""
    scope: Filter | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        # White space around it is no part of an HTTP header: such a key would never be let in.
        secret = self.secret
        is_plain = secret.isascii() and secret.isprintable() and secret == secret.strip()
        if not secret or not is_plain:
            raise InvalidInputError(
                f"The key {self.name!r} is empty, not ASCII, or has white space around it; "
                "expected letters and digits, as in an HTTP header; choose another"
            )
        matches_filter({}, self.scope)  # A wrong scope is found at the start.


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of the key, and its scope."""

    name: str = ""
    scope: Filter | None = field(default=None, hash=False)

    def narrowed(self, *chosen: Filter | None) -> Filter | None:
        """The filter of a search: the caller's scope and all that was chosen."""
        filters = [one for one in (self.scope, *chosen) if one]
        return {"$and": filters} if len(filters) > 1 else next(iter(filters), None)


def find_caller(keys: Iterable[ApiKey], secret: str) -> Caller | None:
    """The caller who has `secret`; None for nobody. Takes as long for any wrong one."""
    found = None
    for key in keys:
        if hmac.compare_digest(key.secret.encode(), secret.encode("utf-8", "surrogatepass")):
            found = Caller(key.name, key.scope)
    return found


def read_keys(path: str | Path) -> tuple[ApiKey, ...]:
    """Keys of a JSON file: `[{"key": "…", "name": "acme", "scope": {"tenant": "acme"}}]`.

    Raises InvalidInputError; no message shows a key.
    """
    expected = '[{"key": "…", "name": "…", "scope": {…}}]'
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"The keys in {path} cannot be read ({type(error).__name__}); expected a JSON file "
            f"such as {expected}; correct it"
        ) from None
    if not isinstance(plain, list) or not plain:
        raise InvalidInputError(f"{path} has no list of keys; expected {expected}; correct it")
    keys = tuple(_read_key(one, f"{path}, key {at}") for at, one in enumerate(plain))
    if len({key.secret for key in keys}) < len(keys):
        raise InvalidInputError(f"{path} has a key twice; expected each once; remove one")
    return keys


def _read_key(plain: Any, where: str) -> ApiKey:
    if not isinstance(plain, Mapping) or not isinstance(plain.get("key"), str):
        raise InvalidInputError(f'{where} is no mapping with a text "key"; expected one; add it')
    if unknown := [str(name) for name in plain if name not in ("key", "name", "scope")]:
        raise InvalidInputError(
            f"{where} has the unknown field {unknown[0]!r}; expected key, name and scope; correct "
            "it"
        )
    scope, name = plain.get("scope"), plain.get("name", "")
    if not isinstance(scope, Mapping | None) or not isinstance(name, str):
        raise InvalidInputError(
            f"{where} has a name or a scope of a wrong type; expected a text and a filter; correct "
            "it"
        )
    return ApiKey(plain["key"], name, scope)
