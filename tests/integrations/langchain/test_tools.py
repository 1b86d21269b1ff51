"""Tools and structured output: written under a grammar, or freely and read while they stream."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic.v1 import BaseModel as BaseModelV1

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from tests.support.langchain_tools import SCHEMA, TURNS, Town, add, greet
from tests.support.script import scripted


class TownV1(BaseModelV1):
    """A town."""

    name: str
    age: int


class TownDict(TypedDict):
    """A town."""

    name: Annotated[str, ..., "its name"]
    age: Annotated[int, ..., "in years"]


SCHEMAS: dict[str, tuple[Any, type]] = {
    "pydantic": (Town, Town),
    "pydantic.v1": (TownV1, TownV1),
    "typeddict": (TownDict, dict),
    "json schema": (SCHEMA, dict),
}
METHODS = ("json_schema", "function_calling", "json_mode")


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    """Searches, but not under a grammar."""
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=2000)


@pytest.fixture(params=["string", "blocks"])
def either(
    request: pytest.FixtureRequest,
    wide_folder: Path,
    model: OneGenModel,
    store: InMemoryVectorStore,
) -> OneGenChatModel:
    """With and without something to search."""
    attached = {"vectorstore": store, "k": 1} if request.param == "blocks" else {}
    return OneGenChatModel(model=wide_folder, max_tokens=2000, **attached)


def add_up(chunks: Any) -> Any:
    first, *others = chunks
    return sum(others, first)


async def stream_async(runnable: Any, question: Any) -> Any:
    return add_up([chunk async for chunk in runnable.astream(question)])


def calls(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


def ask_both_ways(runnable: Any, question: str) -> list[Any]:
    """What else there is, is built on these."""
    return [add_up(runnable.stream(question)), asyncio.run(stream_async(runnable, question))]


def test_a_call_that_the_model_writes_freely_is_read(either: OneGenChatModel) -> None:
    for message in ask_both_ways(either.bind_tools([add, greet]), "One and two?"):
        assert calls(message) == [("add", {"a": 1, "b": 2})]
        assert message.tool_calls[0]["id"]
        assert "tool_call" not in json.dumps(message.content)
        assert "Let me see." in json.dumps(message.content)


def test_calls_of_one_message_have_different_ids(either: OneGenChatModel) -> None:
    for message in ask_both_ways(either.bind_tools([add]), "Twice?"):
        assert calls(message) == [("add", {"a": 1, "b": 2}), ("add", {"a": 1, "b": 3})]
        first, second = message.tool_calls
        assert first["id"] != second["id"]


def test_a_call_without_tags_is_one(either: OneGenChatModel) -> None:
    for message in ask_both_ways(either.bind_tools([add]), "Bare?"):
        assert calls(message) == [("add", {"a": 1, "b": 2})]


def test_a_broken_call_is_kept_unchanged(either: OneGenChatModel) -> None:
    for message in ask_both_ways(either.bind_tools([add]), "Broken?"):
        assert message.tool_calls == []
        (broken,) = message.invalid_tool_calls
        assert '{"name": "add", "arguments": {"a": 1,}' in str(broken["args"])


def test_without_tools_a_call_is_text(either: OneGenChatModel) -> None:
    message = either.invoke("Bare?", tools=[])
    assert message.tool_calls == []
    assert message.text == TURNS["Bare?"]


def test_none_calls_nothing(either: OneGenChatModel) -> None:
    message = either.bind_tools([add], tool_choice="none").invoke("Bare?")
    assert message.tool_calls == []


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("any", {"add", "greet"}),
        (True, {"add", "greet"}),
        ("required", {"add", "greet"}),
        ("greet", {"greet"}),
        ({"type": "function", "function": {"name": "greet"}}, {"greet"}),
    ],
)
def test_a_choice_is_kept_to(choice: Any, names: set[str], chat: OneGenChatModel) -> None:
    for message in ask_both_ways(chat.bind_tools([add, greet], tool_choice=choice), "Bare?"):
        ((name, arguments),) = calls(message)
        assert name in names
        assert set(arguments) == ({"name"} if name == "greet" else {"a", "b"})
        assert message.invalid_tool_calls == []


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
def test_output_is_of_the_schema(name: str, method: str, chat: OneGenChatModel) -> None:
    schema, kind = SCHEMAS[name]
    runnable = chat.with_structured_output(schema, method=method)
    for reply in (list(runnable.stream("A?"))[-1], asyncio.run(runnable.ainvoke("A?"))):
        assert isinstance(reply, kind)
        plain = reply if isinstance(reply, dict) else vars(reply)
        assert {"name"} <= set(plain) <= {"name", "age"}
        assert isinstance(plain["name"], str)


@pytest.mark.parametrize("method", METHODS)
def test_the_raw_message_comes_along(method: str, chat: OneGenChatModel) -> None:
    runnable = chat.with_structured_output(Town, method=method, include_raw=True)
    reply: Any = runnable.invoke("A town?")
    assert isinstance(reply["raw"], AIMessage)
    assert isinstance(reply["parsed"], Town)
    assert reply["parsing_error"] is None
    short = chat.model_copy(update={"max_tokens": 4})
    reply = short.with_structured_output(Town, method=method, include_raw=True).invoke("A town?")
    assert reply["parsed"] is None
    assert reply["raw"].response_metadata["finish_reason"] == "length"


def test_json_mode_is_any_object(chat: OneGenChatModel) -> None:
    bound = chat.bind(response_format={"type": "json_object"})
    for message in ask_both_ways(bound, "A town?"):
        assert isinstance(json.loads(message.text), dict)


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "json_schema", "json_schema": {"name": "town", "schema": SCHEMA, "strict": True}},
        {"type": "json_schema", "json_schema": SCHEMA},
        Town,
    ],
)
def test_a_response_format_is_kept_to(wanted: Any, chat: OneGenChatModel) -> None:
    reply = json.loads(chat.bind(response_format=wanted).invoke("A town?").text)
    assert {"name"} <= set(reply) <= {"name", "age"}
