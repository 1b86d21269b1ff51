"""Tools and structured output: LangChain's arguments as a grammar, and the parsers behind it."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import (
    BaseOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from onegen_integrations.shared.structured_output import cut_output
from onegen_integrations.shared.tool_choice import ToolChoice, normalise_choice
from onegen_model import Grammar
from onegen_model.errors import InvalidInputError

METHODS = ("json_schema", "function_calling", "json_mode")
Schema = dict[str, Any] | type


def bind_arguments(tools: Sequence[Any], choice: ToolChoice) -> dict[str, Any]:
    """Arguments of a call with `tools`; raises InvalidInputError for an unknown choice."""
    formatted = [convert_to_openai_tool(tool) for tool in tools]
    names = [tool["function"]["name"] for tool in formatted]
    chosen = normalise_choice(choice, names)
    return {"tools": formatted, **({"tool_choice": chosen} if chosen else {})}


def response_grammar(called: Mapping[str, Any]) -> Grammar | None:
    """The grammar of a call's `response_format`; None without one."""
    wanted = called.get("response_format")
    if not wanted:
        return None
    if isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema"):
        if wanted["type"] == "json_object":
            return Grammar.json_object()
        described = wanted.get("json_schema", {})
        return Grammar.json_schema(described.get("schema", described))
    return Grammar.json_schema(_to_schema(wanted))


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
    model: BaseChatModel, schema: Schema, method: str, unsupported: Mapping[str, Any]
) -> tuple[Runnable[LanguageModelInput, AIMessage], BaseOutputParser[Any]]:
    """`model` bound to write `schema`, and the parser of its messages."""
    if unsupported:
        raise InvalidInputError(
            f"Unknown options {sorted(unsupported)}; expected method, include_raw or strict; leave "
            "them out"
        )
    if method not in METHODS:
        raise InvalidInputError(
            f"method={method!r}; expected one of {', '.join(METHODS)}; change method"
        )
    about: dict[str, Any] = {
        "ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}
    }
    model_class: Any = schema if _is_pydantic(schema) else None
    if method == "function_calling":
        (tool,) = bind_arguments([schema], None)["tools"]
        bound = model.bind_tools([schema], tool_choice="any", **about)
        if model_class:
            return bound, PydanticToolsParser(tools=[model_class], first_tool_only=True)
        name = tool["function"]["name"]
        return bound, JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    # In JSON mode too, because a known schema can be enforced.
    described = {"name": "answer", "schema": _to_schema(schema)}
    response_format = {"type": "json_schema", "json_schema": described}
    bound = model.bind(response_format=response_format, **about)
    if model_class:
        return bound, PydanticOutputParser(pydantic_object=model_class)
    return bound, JsonOutputParser()


def _is_pydantic(schema: Schema) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def parsed_output(
    bound: Runnable[LanguageModelInput, AIMessage],
    parser: BaseOutputParser[Any],
    *,
    include_raw: bool,
) -> Runnable[LanguageModelInput, Any]:
    """Messages of `bound`, parsed; a message that was cut raises OneGenError.

    With `include_raw` the error is reported as `parsing_error`.
    """
    whole: Runnable[AIMessage, AIMessage] = RunnableGenerator(_require_whole, _arequire_whole)
    if not include_raw:
        return bound | whole | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | whole | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _require_whole(messages: Iterator[AIMessage]) -> Iterator[AIMessage]:
    for message in messages:
        _require_end(message)
        yield message


async def _arequire_whole(messages: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
    async for message in messages:
        _require_end(message)
        yield message


def _require_end(message: AIMessage) -> None:
    reason = message.response_metadata.get("onegen", {}).get("finish_reason")
    if reason == "stop":
        raise cut_output(None)
    if reason == "length":
        usage = message.usage_metadata
        raise cut_output(usage["output_tokens"] if usage else 0)
