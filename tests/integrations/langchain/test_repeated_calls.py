"""A model that repeats a tool call whose result it has read: agents end all the same."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from tests.support.script import scripted

QUESTION = "One and two?"
SUM = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
OTHER = SUM.replace("2", "3")
ANSWER = "<FINAL-ANSWER> It is 3</FINAL-ANSWER>"
RETURNED = "the sum is 3"


@tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"the sum is {a + b}"


class Sum(BaseModel):
    """A sum."""

    total: int


def searching(folder: Path, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=folder, vectorstore=store, k=1, max_tokens=200)


@pytest.fixture(params=["string", "blocks"])
def chat(
    request: pytest.FixtureRequest, wide_folder: Path, store: InMemoryVectorStore
) -> OneGenChatModel:
    if request.param == "blocks":
        return searching(wide_folder, store)
    return OneGenChatModel(model=wide_folder, max_tokens=200)


def run(chat: OneGenChatModel, asynchronous: bool = False) -> list[Any]:
    agent: Any = create_agent(chat, tools=[add])
    asked, config = {"messages": [HumanMessage(QUESTION)]}, {"recursion_limit": 12}
    if asynchronous:
        state = asyncio.run(agent.ainvoke(asked, config))
    else:
        state = agent.invoke(asked, config)
    return list(state["messages"][1:])


@pytest.fixture
def repeating(tiny: OneGenModel) -> Iterator[OneGenModel]:
    """Calls again after the result; inside the answer frame it answers."""
    with scripted(tiny, {QUESTION: SUM, RETURNED: [f"I add.\n{SUM}", f"I add.\n{ANSWER}"]}):
        yield tiny


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_agent_whose_model_repeats_its_call_ends_with_an_answer(
    asynchronous: bool, chat: OneGenChatModel, repeating: OneGenModel
) -> None:
    called, returned, answered = run(chat, asynchronous)
    assert len(called.tool_calls) == 1
    assert returned.content == RETURNED
    assert answered.tool_calls == []
    assert answered.text.endswith("It is 3")
    assert "tool_call" not in json.dumps(answered.content)


def test_the_second_attempt_reads_nothing_twice(
    chat: OneGenChatModel, repeating: OneGenModel
) -> None:
    _, _, answered = run(chat)
    usage = answered.usage_metadata
    read = answered.response_metadata["onegen"]["usage"]
    repeated = repeating.count_tokens(SUM) + 10
    assert read["forwarded"] + read["reused"] <= usage["total_tokens"] + repeated


def test_its_answer_is_replayed_whole(chat: OneGenChatModel, repeating: OneGenModel) -> None:
    messages = [HumanMessage(QUESTION), *run(chat)]
    with scripted(repeating, {"Sure?": "<FINAL-ANSWER>Yes</FINAL-ANSWER>"}):
        sure: Any = chat.bind_tools([add]).invoke([*messages, HumanMessage("Sure?")])
    assert sure.text == "Yes"
    reused = sure.usage_metadata["input_token_details"]["cache_read"]
    assert reused >= messages[-1].usage_metadata["total_tokens"] - 1


def test_a_call_with_other_arguments_is_made(chat: OneGenChatModel, tiny: OneGenModel) -> None:
    with scripted(tiny, {QUESTION: SUM, RETURNED: OTHER, "the sum is 4": ANSWER}):
        called, _, again, _, answered = run(chat)
    assert [one.tool_calls[0]["args"]["b"] for one in (called, again)] == [2, 3]
    assert answered.text == "It is 3"


def test_a_new_call_beside_a_repeated_one_is_made(chat: OneGenChatModel, tiny: OneGenModel) -> None:
    with scripted(tiny, {QUESTION: SUM, RETURNED: f"{SUM}\n{OTHER}", "the sum is 4": ANSWER}):
        _, _, again, _, _ = run(chat)
    assert [call["args"]["b"] for call in again.tool_calls] == [3]


@pytest.mark.parametrize("question_of", [HumanMessage, partial(ChatMessage, role="user")])
def test_the_same_call_for_the_next_question_is_made(
    question_of: Any, chat: OneGenChatModel, tiny: OneGenModel
) -> None:
    asked = [
        question_of(content=QUESTION),
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}]),
        ToolMessage(RETURNED, tool_call_id="1"),
        AIMessage("3"),
        question_of(content="Once more?"),
    ]
    with scripted(tiny, {"Once more?": SUM}):
        assert len(chat.bind_tools([add]).invoke(asked).tool_calls) == 1


def test_only_the_first_call_is_kept_where_one_is_wanted(
    chat: OneGenChatModel, tiny: OneGenModel
) -> None:
    with scripted(tiny, {QUESTION: f"{SUM}\n{OTHER}"}):
        bound = chat.bind_tools([add], parallel_tool_calls=False)
        assert [call["args"]["b"] for call in bound.invoke(QUESTION).tool_calls] == [2]


@tool
def now() -> str:
    """The time."""
    return "noon"


def test_a_forced_call_that_is_repeated_gives_way_to_another_tool(
    wide_folder: Path, tiny: OneGenModel
) -> None:
    chat = OneGenChatModel(model=wide_folder, max_tokens=400)
    made = AIMessage("", tool_calls=[{"name": "now", "args": {}, "id": "1"}])
    messages = [HumanMessage("When?"), made, ToolMessage("noon", tool_call_id="1")]
    repeated: Any = chat.bind_tools([now], tool_choice="now").invoke(messages)
    assert [one["name"] for one in repeated.tool_calls] == ["now"], "there is no other"
    other: Any = chat.bind_tools([now, Sum], tool_choice="any").invoke(messages)
    assert [one["name"] for one in other.tool_calls] == ["Sum"]


def test_a_forced_call_gives_way_to_a_tool_that_was_called_for_an_earlier_question_alone(
    wide_folder: Path, tiny: OneGenModel
) -> None:
    chat = OneGenChatModel(model=wide_folder, max_tokens=400)

    def made(name: str, args: dict[str, int], call_id: str) -> list[Any]:
        call = {"name": name, "args": args, "id": call_id}
        return [AIMessage("", tool_calls=[call]), ToolMessage("done", tool_call_id=call_id)]

    first = [HumanMessage("When?"), *made("now", {}, "1"), *made("Sum", {"total": 1}, "2")]
    messages = [*first, HumanMessage("And now?"), *made("now", {}, "3")]
    reply: Any = chat.bind_tools([now, Sum], tool_choice="any").invoke(messages)
    assert [one["name"] for one in reply.tool_calls] == ["Sum"]
