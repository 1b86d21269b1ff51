"""The reference of all keys of a recipe, made from the types that check it."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from onegen_model.finetune.run.recipe import Recipe

_NAMES = {"integer": "whole number", "boolean": "true or false", "string": "text"}


def recipe_keys() -> str:
    """A Markdown table: key, kind of value, default and meaning of each."""
    schema = TypeAdapter(Recipe).json_schema()
    head = ("key", "value", "default", "meaning"), ("---",) * 4
    rows = [*head, *_rows(schema, schema.get("$defs", {}), "")]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _rows(
    schema: Mapping[str, Any], named: Mapping[str, Any], group: str
) -> Iterator[tuple[str, ...]]:
    for name, field in schema["properties"].items():
        kinds = [_resolved(kind, named) for kind in field.get("anyOf", [field])]
        inner = next((kind for kind in kinds if "properties" in kind), None)
        meaning = " ".join(field["description"].split())
        default = "required" if name in schema.get("required", ()) else _shown(field.get("default"))
        value = "mapping" if inner else _kind(kinds[0])
        yield f"`{group}{name}`", value, "" if inner else default, meaning
        if inner:
            yield from _rows(inner, named, f"{group}{name}.")


def _resolved(kind: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = kind.get("$ref")
    return named[reference.rpartition("/")[2]] if reference else kind


def _kind(kind: Mapping[str, Any]) -> str:
    if "enum" in kind:
        return ", ".join(f"`{choice}`" for choice in kind["enum"])
    if kind.get("format") == "path":
        return "path"
    if kind["type"] == "object":
        return "mapping"
    name = str(kind["type"])
    return _NAMES.get(name, name)


def _shown(default: Any) -> str:
    """A default as YAML writes it; none is no text."""
    if default is None:
        return ""
    return f"`{yaml.safe_dump(default).splitlines()[0]}`"
