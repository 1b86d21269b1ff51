"""OneGenLLM: the same turn however it is asked for; tools and structure."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.scripted_turns import ADD, TURNS, last
from tests.support.script import scripted


class Town(BaseModel):
    """A town."""

    kind: Literal["large", "small"]
    wheels: int = Field(ge=0, le=9)


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


def plain(message: ChatMessage) -> Any:
    """What has to be the same on all paths: each call has an id of its own."""
    return json.loads(json.dumps([_block(one) for one in message.blocks])), message.role


def _block(block: Any) -> list[Any]:
    if isinstance(block, ToolCallBlock):
        return [block.tool_name, block.tool_kwargs]
    return [block.text]


CHATS: dict[str, Callable[[OneGenLLM, list[ChatMessage]], Any]] = {
    "achat": lambda llm, asked: asyncio.run(llm.achat(asked)),
    "stream_chat": lambda llm, asked: list(llm.stream_chat(asked))[-1],
    "astream_chat": lambda llm, asked: asyncio.run(last(llm.astream_chat(asked))),
}
TOOL_CHATS: dict[str, Callable[[OneGenLLM, str], Any]] = {
    "achat": lambda llm, asked: asyncio.run(llm.achat_with_tools([ADD], asked)),
    "stream_chat": lambda llm, asked: list(llm.stream_chat_with_tools([ADD], asked))[-1],
    "astream_chat": lambda llm, asked: asyncio.run(last(llm.astream_chat_with_tools([ADD], asked))),
}
COMPLETIONS: dict[str, Callable[[OneGenLLM, str], Any]] = {
    "acomplete": lambda llm, asked: asyncio.run(llm.acomplete(asked)),
    "stream_complete": lambda llm, asked: list(llm.stream_complete(asked))[-1],
    "astream_complete": lambda llm, asked: asyncio.run(last(llm.astream_complete(asked))),
}


def forget(model: OneGenModel) -> None:
    model.engine.forget()  # type: ignore[attr-defined]


def test_nothing_abstract_is_left_and_nothing_is_inherited_that_blocks() -> None:
    assert issubclass(OneGenLLM, FunctionCallingLLM)
    assert not OneGenLLM.__abstractmethods__
    for name in ("chat", "complete"):
        for kind in ("{}", "a{}", "stream_{}", "astream_{}"):
            method = kind.format(name)
            assert getattr(OneGenLLM, method) is not getattr(LLM, method), method
    assert not OneGenEmbedding.__abstractmethods__
    assert OneGenEmbedding.class_name() == "OneGenEmbedding"
    assert OneGenLLM.class_name() == "OneGenLLM"


@pytest.mark.parametrize("path", CHATS)
def test_a_chat_is_the_same_on_every_path(path: str, llm: OneGenLLM, script: OneGenModel) -> None:
    asked = [ChatMessage("Name a town.")]
    expected = llm.chat(asked)
    assert expected.message.content == "Well: Alba, or Brig then."
    forget(script)
    reply = CHATS[path](llm, asked)
    assert plain(reply.message) == plain(expected.message)
    assert reply.message.additional_kwargs == expected.message.additional_kwargs
    assert reply.raw == expected.raw


@pytest.mark.parametrize("path", TOOL_CHATS)
@pytest.mark.parametrize("asked", ["Add 2 and 3.", "Name a town.", "Break it."])
def test_a_chat_with_tools_is_the_same_on_every_path(
    path: str, asked: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    expected = llm.chat_with_tools([ADD], asked)
    forget(script)
    reply = TOOL_CHATS[path](llm, asked)
    assert plain(reply.message) == plain(expected.message)
    assert reply.raw == expected.raw


@pytest.mark.parametrize("path", COMPLETIONS)
def test_a_completion_is_the_same_on_every_path(
    path: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    expected = llm.complete("Name a town.")
    assert expected.text == "Well: Alba, or Brig then."
    forget(script)
    reply = COMPLETIONS[path](llm, "Name a town.")
    assert (reply.text, reply.raw) == (expected.text, expected.raw)


@pytest.mark.parametrize("asked", ["Name a town.", "Add 2 and 3."])
def test_deltas_add_up_and_grow(asked: str, llm: OneGenLLM, script: OneGenModel) -> None:
    chunks = list(llm.stream_chat_with_tools([ADD], asked))
    text = ""
    for chunk in chunks:
        text += chunk.delta or ""
        assert chunk.message.content == text or not text
    assert len([chunk for chunk in chunks if chunk.delta]) > 3
    pieces = list(llm.stream_complete("Name a town."))
    assert "".join(piece.delta or "" for piece in pieces) == pieces[-1].text


def test_a_call_shows_only_when_it_is_complete(llm: OneGenLLM, script: OneGenModel) -> None:
    for chunk in llm.stream_chat_with_tools([ADD], "Add 2 and 3."):
        selections = llm.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
        assert [one.tool_kwargs for one in selections] in ([], [{"a": 2, "b": 3}])
        assert "tool_call" not in (chunk.message.content or "")
    [selection] = llm.get_tool_calls_from_response(chunk)
    assert (selection.tool_name, bool(selection.tool_id)) == ("add", True)


def test_a_broken_call_is_a_call_of_an_unknown_tool(llm: OneGenLLM, script: OneGenModel) -> None:
    [selection] = llm.get_tool_calls_from_response(llm.chat_with_tools([ADD], "Break it."))
    assert (selection.tool_name, selection.tool_kwargs) == ("invalid", {"text": "{not JSON"})


def test_one_call_alone_unless_more_are_allowed(llm: OneGenLLM, script: OneGenModel) -> None:
    one = llm.chat_with_tools([ADD], "Add both ways.")
    both = llm.chat_with_tools([ADD], "Add both ways.", allow_parallel_tool_calls=True)
    assert len(llm.get_tool_calls_from_response(one)) == 1
    assert len({call.tool_id for call in llm.get_tool_calls_from_response(both)}) == 2


def test_no_call_is_an_error_only_where_one_is_needed(llm: OneGenLLM, script: OneGenModel) -> None:
    response = llm.chat_with_tools([ADD], "Name a town.")
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(InvalidInputError, match="called no tool; expected at least one"):
        llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize(
    "choice",
    [
        {"tool_required": True},
        {"tool_choice": "any"},
        {"tool_choice": "required"},
        {"tool_choice": "add"},
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        {"tool_choice": None, "tool_required": True},
    ],
)
def test_a_forced_call_fits_its_tool(choice: dict[str, Any], llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    multiply = FunctionTool.from_defaults(lambda a: a, name="multiply", description="Multiplies.")
    tools = [ADD, multiply] if choice.get("tool_choice") not in (None, "any", "required") else [ADD]
    response = llm.chat_with_tools(tools, "Whatever.", **choice)
    [selection] = llm.get_tool_calls_from_response(response)
    assert selection.tool_name == "add"
    assert set(map(type, selection.tool_kwargs.values())) == {int}
    assert response.message.content == ""


def test_a_tool_may_be_forbidden_and_must_be_known(llm: OneGenLLM, model: OneGenModel) -> None:
    asked = [ChatMessage("Whatever.")]
    without: Any = llm.chat(asked).raw
    none: Any = llm.chat_with_tools([ADD], "Whatever.", tool_choice="none").raw
    assert none["prompt"] == without["prompt"], "it is not shown either"
    with pytest.raises(InvalidInputError, match=r"No tool 'divide' to call; .*\(add\)"):
        llm.chat_with_tools([ADD], "Whatever.", tool_choice="divide")


def test_a_tool_is_called_and_its_result_is_read(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    seen: list[tuple[int, int]] = []
    tool = FunctionTool.from_defaults(lambda a, b: seen.append((a, b)), name="add", fn_schema=Pair)
    llm.predict_and_call([tool], "Whatever.", tool_required=True)
    asyncio.run(llm.apredict_and_call([tool], "Whatever.", tool_required=True))
    assert len(seen) == 2
    assert seen[0] == seen[1]


class Pair(BaseModel):
    a: int
    b: int


@pytest.mark.filterwarnings("ignore:The `json` method")  # of LlamaIndex
def test_structured_output_is_constrained_on_every_path(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    structured = llm.as_structured_llm(Town)
    asked = [ChatMessage("Describe a town.")]
    expected = structured.chat(asked).raw
    assert isinstance(expected, Town)
    assert asyncio.run(structured.achat(asked)).raw == expected
    assert llm.structured_predict(Town, PromptTemplate("Describe a town.")) == expected


@pytest.mark.filterwarnings("ignore:The `json` method")  # of LlamaIndex
def test_structured_output_grows_while_it_streams(llm: OneGenLLM) -> None:
    llm.max_tokens = 200
    structured = llm.as_structured_llm(Town)
    asked = [ChatMessage("Describe a town.")]
    streamed: Any = [one.raw for one in structured.stream_chat(asked)]
    whole = Town.model_validate(streamed[-1].model_dump())
    assert streamed[0].model_dump() == {"kind": None, "wheels": None}
    assert {"kind": whole.kind, "wheels": None} in [one.model_dump() for one in streamed]
    again = asyncio.run(last(structured.astream_chat(asked))).raw
    assert again.model_dump() == whole.model_dump()
