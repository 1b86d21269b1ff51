"""Tools and structured output: what LangChain binds, as a grammar of the core."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import (
    BaseOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from onegen_model import Grammar
from onegen_model.errors import InvalidInputError

ToolChoice: TypeAlias = str | bool | Mapping[str, Any] | None
METHODS = ("json_schema", "function_calling", "json_mode")


def bind_arguments(tools: Sequence[Any], choice: ToolChoice) -> dict[str, Any]:
    """What a model with `tools` is called with; raises InvalidInputError for an unknown choice."""
    formatted = [convert_to_openai_tool(tool) for tool in tools]
    chosen = _normalise(choice)
    names = [tool["function"]["name"] for tool in formatted]
    if chosen not in (None, "auto", "any", "none", *names):
        raise InvalidInputError(
            f"tool_choice={choice!r}; expected 'auto', 'any', 'none' or one of {names}; change it"
        )
    return {"tools": formatted, **({"tool_choice": chosen} if chosen else {})}


def _normalise(choice: ToolChoice) -> str | None:
    if isinstance(choice, Mapping):
        return str(choice.get("function", choice).get("name"))
    if choice is True or choice == "required":
        return "any"
    return choice or None


def find_grammar(tools: Sequence[Mapping[str, Any]], called: Mapping[str, Any]) -> Grammar | None:
    """What a call's `tool_choice` or `response_format` allows to be written."""
    choice = _normalise(called.get("tool_choice"))
    if tools and choice not in (None, "auto", "none"):
        return Grammar.tool_call(tools, name=None if choice == "any" else choice)
    wanted = called.get("response_format")
    if not wanted:
        return None
    if isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema"):
        if wanted["type"] == "json_object":
            return Grammar.json_object()
        described = wanted.get("json_schema", {})
        return Grammar.json_schema(described.get("schema", described))
    return Grammar.json_schema(_to_schema(wanted))


def shown_tools(called: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Tools that the model may call; it does not see those that it may not."""
    return () if _normalise(called.get("tool_choice")) == "none" else called.get("tools") or ()


def _to_schema(wanted: Any) -> dict[str, Any]:
    try:
        return convert_to_json_schema(wanted)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{wanted!r} describes no output; expected a pydantic model, a TypedDict or a JSON "
            "schema with a title, for `response_format` also a mapping of the type json_schema or "
            "json_object; pass one"
        ) from error


def structured(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    *,
    method: str,
    include_raw: bool,
    **unsupported: Any,
) -> Runnable[LanguageModelInput, Any]:
    """`model` bound to write `schema`, and a parser behind it."""
    if unsupported:
        raise InvalidInputError(
            f"Unknown options {sorted(unsupported)}; expected method, include_raw or strict; leave "
            "them out"
        )
    if method not in METHODS:
        raise InvalidInputError(
            f"method={method!r}; expected one of {', '.join(METHODS)}; change method"
        )
    if method == "function_calling":
        default = BaseChatModel.with_structured_output
        return default(model, schema, include_raw=include_raw)
    # In JSON mode too: a schema that is known may as well be kept to.
    described = {"name": "answer", "schema": _to_schema(schema)}
    bound = model.bind(
        response_format={"type": "json_schema", "json_schema": described},
        ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
    )
    parser = _parser(schema)
    return bound | parser if not include_raw else _with_raw(bound, parser)


def _parser(schema: dict[str, Any] | type) -> BaseOutputParser[Any]:
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser(pydantic_object=schema)
    return JsonOutputParser()


def _with_raw(
    bound: Runnable[LanguageModelInput, Any], parser: BaseOutputParser[Any]
) -> Runnable[LanguageModelInput, Any]:
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")
