"""Fields that all routes which answer have, under whatever names: sampling, and a format."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onegen_integrations.server.errors import ParameterError
from onegen_model import Grammar, SamplingParams


def chosen_sampling(usual: SamplingParams, **given: Any) -> SamplingParams:
    """The operator's choices, but for what the request gives: what is not None."""
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def output_grammar(wanted: object, schema: object, param: str, form: str) -> Grammar | None:
    """What the format `wanted` allows to be written; None where this is any text.

    `form` shows how a format with a `schema` is written. Raises InvalidInputError for an unknown
    format, and for a schema that cannot be followed.
    """
    kind = wanted.get("type") if isinstance(wanted, Mapping) else type(wanted).__name__
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return Grammar.json_object()
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise ParameterError(
            f"{param} is of type {str(kind)[:80]!r}, or has no schema; expected text, json_object, "
            f"or {form}; correct it",
            param=param,
        )
    return Grammar.json_schema(schema)
