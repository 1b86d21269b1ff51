"""Agents of LangChain: calls, retrievals and structured answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import Grammar, OneGenModel
from onegen_model.errors import InvalidInputError
from tests.support.langchain_tools import SCHEMA, TURNS, Town, add, greet
from tests.support.script import scripted


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


def test_an_agent_retrieves_and_calls_in_one_message(
    wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=200)
    agent = create_agent(chat, tools=[add], system_prompt="Be brief.")
    state = agent.invoke({"messages": [HumanMessage("How old is Alba?")]})
    _, asked, returned, answered = state["messages"]
    kinds = [block["type"] for block in asked.content_blocks]
    assert kinds == [
        "reasoning",
        "server_tool_call",
        "server_tool_result",
        "reasoning",
        "tool_call",
    ]
    assert isinstance(returned, ToolMessage)
    assert returned.content == "the sum is 3"
    assert answered.text == "It is 3"
    # All of the first turn was in the cache, but perhaps its last token.
    usage: Any = answered.usage_metadata
    read = asked.usage_metadata["total_tokens"]
    assert usage["input_token_details"]["cache_read"] >= read - 1


async def test_an_agent_streams_in_an_event_loop(either: OneGenChatModel) -> None:
    agent = create_agent(either, tools=[add])
    state = {"messages": [HumanMessage("One and two?")]}
    reply = [one async for one, _ in agent.astream(state, stream_mode="messages")]
    assert "".join(one.text for one in reply).endswith("It is 3")


@pytest.mark.parametrize("strategy", [Town, ProviderStrategy(Town)])
def test_an_agent_gives_structured_answers(strategy: Any, chat: OneGenChatModel) -> None:
    agent = create_agent(chat, tools=[], response_format=strategy)
    state = agent.invoke({"messages": [HumanMessage("A town?")]})
    assert isinstance(state["structured_response"], Town)


def test_an_agent_with_tools_calls_them_before_it_gives_a_structured_answer(
    chat: OneGenChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered, wanted, grammar = [], iter(["add", "Town"]), Grammar.tool_call

    def choose(tools: Any, *, name: str | None) -> Grammar:
        """What a trained model would choose among the tools."""
        assert name is None
        offered.append([one["function"]["name"] for one in tools])
        return grammar(tools, name=next(wanted))

    monkeypatch.setattr(Grammar, "tool_call", choose)
    agent = create_agent(chat, tools=[add], response_format=Town)
    state = agent.invoke({"messages": [HumanMessage("A town?")]})
    assert offered == [["add", "Town"]] * 2
    assert any(isinstance(one, ToolMessage) and one.name == "add" for one in state["messages"])
    assert isinstance(state["structured_response"], Town)


ODD = {**SCHEMA, "properties": {"name": {"type": "string", "pattern": "(?<=a)b"}}}


def test_a_schema_that_cannot_be_constrained_is_one_error(chat: OneGenChatModel) -> None:
    for runnable in (
        chat.with_structured_output(ODD),
        chat.with_structured_output(ODD, method="function_calling"),
        chat.bind_tools([ODD], tool_choice="any"),
    ):
        with pytest.raises(InvalidInputError, match=r"(?s)cannot constrain a model .*; expected"):
            runnable.invoke("A town?")


def test_choices_and_methods_that_do_not_exist_are_one_error(chat: OneGenChatModel) -> None:
    with pytest.raises(InvalidInputError, match=r"tool_choice='sub'.*or one of add, greet"):
        chat.bind_tools([add, greet], tool_choice="sub")
    with pytest.raises(InvalidInputError, match="method='magic'; expected one of json_schema"):
        chat.with_structured_output(Town, method="magic")
    with pytest.raises(InvalidInputError, match="No tool 'sub' to call"):
        chat.bind_tools([add]).invoke("Bare?", tool_choice="sub")
    with pytest.raises(InvalidInputError, match="describes no output; expected a pydantic"):
        chat.invoke("A town?", response_format={"type": "xml"})
    with pytest.raises(InvalidInputError, match=r"Unknown options \['magic'\]"):
        chat.with_structured_output(Town, magic=True)
