"""What a key's scope means for files and vector stores.

A file, a vector store and a file in a store have attributes, as passages have metadata: a caller
sees and changes those alone that pass its scope. What it makes carries the values that its scope
fixes, so `{"tenant": "acme"}` marks each upload with the tenant. A scope that fixes nothing, such
as `{"year": {"$gte": 2020}}`, is one for reading: nothing can be made under it that lies outside.
"""

from collections.abc import Mapping
from typing import Any

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.keys import Caller
from onegen_model import matches_filter


def sees(caller: Caller, attributes: Mapping[str, Any]) -> bool:
    """Whether something lies in the scope of a caller."""
    return matches_filter(attributes, caller.scope)


def fixed_by(scope: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values that everything in a scope has."""
    fixed: dict[str, Any] = {}
    for name, wanted in (scope or {}).items():
        if name == "$and":
            for one in wanted:
                fixed |= fixed_by(one)
        elif isinstance(wanted, Mapping) and "$eq" in wanted:
            fixed[name] = wanted["$eq"]
        elif isinstance(wanted, str | int | float):
            fixed[name] = wanted
    return {name: value for name, value in fixed.items() if not name.startswith("$")}


def marked(caller: Caller, given: Mapping[str, Any], param: str) -> dict[str, Any]:
    """Attributes with what the caller's scope fixes; raises ParameterError outside of it."""
    attributes = {**fixed_by(caller.scope), **given}
    require_seen(caller, attributes, param)
    return attributes


def require_seen(caller: Caller, attributes: Mapping[str, Any], param: str) -> None:
    """Raise ParameterError if attributes lie outside of the scope of a caller."""
    if not sees(caller, attributes):
        raise ParameterError(
            f"The {param} lie outside of the scope of this key; expected what the scope allows; "
            "change them, or use another key",
            param=param,
            code="outside_scope",
        )
