"""Grammars of constrained requests, in the language of the library llguidance."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.transcript.tool_calls import CLOSE, OPEN, tool_function

MAX_STRING, MAX_KEY, MAX_ITEMS, MAX_NUMBER, DECIMALS, MAX_DEPTH = 512, 64, 32, 10**15, 9, 4

# JSON as `json.dumps(…, ensure_ascii=False)` writes it.
_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": 'nrbtf\\"',
}
_SCALARS = ("string", "number", "boolean", "null")
_TYPES = (*_SCALARS, "array", "object")
_FORMATS = {"date", "date-time", "duration", "email", "hostname", "time"}
_FORMATS |= {"ipv4", "ipv6", "uri", "uuid"}
_COMBINED = {"$ref", "allOf", "anyOf", "oneOf"}
_OBJECT = {"additionalProperties", "properties", "required"}
_ONE_SCHEMA = {"additionalProperties", "items"}
_LISTED = {"allOf", "anyOf", "items", "oneOf", "prefixItems"}
_NAMED = {"$defs", "definitions", "patternProperties", "properties"}


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar in llguidance's form of Lark; raises InvalidInputError where `text` is not one."""

    text: str

    def __post_init__(self) -> None:
        failed, messages = import_llguidance().LLMatcher.validate_grammar_with_warnings(self.text)
        if failed:
            # The rest of the message quotes the line, which may be a whole schema.
            problem = re.split(r"\n\s*\d+ \| ", messages[0])[0]
            raise InvalidInputError(
                f"The grammar cannot constrain a model ({problem}); expected what llguidance "
                "supports and some text can satisfy; simplify the schema or the grammar"
            )

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any]) -> "Grammar":
        """JSON on one line that `schema` accepts, its properties in the schema's order.

        A small model may never end a value without a bound, so these are the defaults: strings
        have at most 512 characters, keys of maps 64, arrays and maps 32 items; numbers lie within
        ±10^15 and have at most 9 decimals; values of no declared type nest 4 deep; an object with
        declared properties has no others. Recursion by `$ref`, and additional properties beside
        declared ones, have no bound but the schema's. Formats that llguidance does not know are
        ignored; any other keyword that it does not know is refused.
        """
        return cls(f"start: {_json(schema)}")

    @classmethod
    def json_object(cls) -> "Grammar":
        """Any JSON object, within the bounds of `json_schema`."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def tool_call(cls, tools: Sequence[Mapping[str, Any]], *, name: str | None = None) -> "Grammar":
        """One call of any tool, or of the one called `name`, as `render_tool_call` writes it."""
        functions = [tool_function(tool) for tool in tools]
        known = ", ".join(function["name"] for function in functions) or "none"
        if name is not None:
            functions = [function for function in functions if function["name"] == name]
        if not functions:
            raise InvalidInputError(
                f"No tool {name or ''!r} to call; expected one of the tools ({known}); pass it in "
                "`tools`"
            )
        start, end = _literal(OPEN + "\n"), _literal("\n" + CLOSE)
        return cls(f"start: {start} ({' | '.join(map(_call, functions))}) {end}")


def import_llguidance() -> Any:
    """The optional package; raises MissingExtraError."""
    try:
        import llguidance
    except ImportError as error:
        raise MissingExtraError(
            "The package llguidance is not installed; expected it for a Grammar; "
            'run `pip install "onegen[tools]"`'
        ) from error
    return llguidance


def _call(function: Mapping[str, Any]) -> str:
    head = json.dumps({"name": function["name"], "arguments": 0}, ensure_ascii=False)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return f"""({_literal(head.removesuffix("0}"))} {_json(parameters)} "}}")"""


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(schema: Mapping[str, Any]) -> str:
    """A piece of grammar: JSON that `schema` accepts."""
    try:
        bounded = _Bounds(closes=not _intersects(schema)).apply(schema)
        return f"%json {json.dumps({**bounded, 'x-guidance': _LAYOUT}, allow_nan=False)}"
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidInputError(
            f"The schema cannot be read ({error}); expected a JSON schema as a mapping; correct it"
        ) from error


def _intersects(schema: Any) -> bool:
    """Whether an object's properties may come from several places of the schema.

    No single place then names all of them.
    """
    if isinstance(schema, list | tuple):
        return any(map(_intersects, schema))
    if not isinstance(schema, Mapping):
        return False
    keys = set(schema)
    combines = keys & _COMBINED and keys & _OBJECT
    return bool(combines) or len(schema.get("allOf", ())) > 1 or _intersects([*schema.values()])


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Adds the default bounds to a schema. `closes`: to objects as well, see `_intersects`."""

    closes: bool

    def apply(self, schema: Any, depth: int = MAX_DEPTH) -> Any:
        """A bounded copy of a schema; `depth` is how far values of no declared type may nest."""
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            return schema
        bounded = {key: self._inside(key, value) for key, value in schema.items()}
        if bounded.get("format", "date") not in _FORMATS:
            del bounded["format"]
        if bounded.keys() & {"const", "enum", *_COMBINED}:
            return bounded
        types = bounded.setdefault("type", list(_TYPES if depth else _SCALARS))
        types = [types] if isinstance(types, str) else types
        if "string" in types:
            _set_most(bounded, "Length", MAX_STRING)
        if "number" in types or "integer" in types:
            _bound_number(bounded, has_decimals="number" in types)
        if "array" in types:
            bounded.setdefault("items", self.apply({}, max(depth - 1, 0)))
            _set_most(bounded, "Items", MAX_ITEMS)
        if "object" in types and self.closes:
            self._bound_object(bounded, depth)
        return bounded

    def _inside(self, key: str, value: Any) -> Any:
        if key in _NAMED and isinstance(value, Mapping):
            return {name: self.apply(item) for name, item in value.items()}
        if key in _LISTED and isinstance(value, list | tuple):
            return [self.apply(item) for item in value]
        return self.apply(value) if key in _ONE_SCHEMA else value

    def _bound_object(self, schema: dict[str, Any], depth: int) -> None:
        if schema.keys() & {"properties", "patternProperties"}:
            if set(schema.get("required", ())) <= schema.get("properties", {}).keys():
                schema.setdefault("additionalProperties", False)
        elif (values := schema.get("additionalProperties")) is not False:
            if values is None:
                values = self.apply({}, max(depth - 1, 0))
            schema["patternProperties"] = {f"^.{{0,{MAX_KEY}}}$": values}
            schema["additionalProperties"] = False
            _set_most(schema, "Properties", MAX_ITEMS)


def _set_most(schema: dict[str, Any], what: str, limit: int) -> None:
    schema.setdefault(f"max{what}", max(limit, schema.get(f"min{what}", 0)))


def _bound_number(schema: dict[str, Any], *, has_decimals: bool) -> None:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and (high is None or high > -MAX_NUMBER):
        schema["minimum"] = -MAX_NUMBER
    if high is None and (low is None or low < MAX_NUMBER):
        schema["maximum"] = MAX_NUMBER
    is_coarse = all(end is None or round(end, DECIMALS) == end for end in (low, high))
    if has_decimals and is_coarse:
        schema.setdefault("multipleOf", 10**-DECIMALS)
