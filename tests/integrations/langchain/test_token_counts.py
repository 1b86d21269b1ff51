"""The tokens of messages are those of their prompt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURNS = {
    QUESTION: "Who founded Alba?[RQ]Ann did.\n<FINAL-ANSWER> Ann</FINAL-ANSWER>",
    "Next?": "<FINAL-ANSWER>Bob</FINAL-ANSWER>",
}


@tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=2, max_tokens=100)


def prompt_tokens(message: Any) -> int:
    usage = message.usage_metadata
    return int(usage["input_tokens"] - usage["input_token_details"]["retrieved"])


@pytest.mark.parametrize("tools", [[], [add]])
def test_messages_count_as_many_tokens_as_their_prompt_has(
    tools: list[Any], chat: OneGenChatModel
) -> None:
    bound: Any = chat.bind_tools(tools) if tools else chat
    messages: list[Any] = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    for _ in range(3):
        counted = chat.get_num_tokens_from_messages(messages, tools or None)
        answer = bound.invoke(messages)
        assert prompt_tokens(answer) == counted
        messages += [answer, HumanMessage("Next?")]
    call = {"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}
    messages += [AIMessage("", tool_calls=[call]), ToolMessage("3", tool_call_id="1")]
    counted = chat.get_num_tokens_from_messages(messages, tools or None)
    assert prompt_tokens(bound.invoke(messages)) == counted


def test_passages_of_earlier_turns_count(chat: OneGenChatModel) -> None:
    answer: Any = chat.invoke(QUESTION)
    retrieved = answer.usage_metadata["input_token_details"]["retrieved"]
    assert chat.get_num_tokens_from_messages([answer]) > retrieved > 0


def test_a_history_that_is_trimmed_fits(chat: OneGenChatModel) -> None:
    messages: list[Any] = [SystemMessage("Be brief.")]
    for _ in range(5):
        messages.append(HumanMessage(QUESTION))
        messages.append(chat.invoke(messages))
    messages.append(HumanMessage("Next?"))
    whole = chat.get_num_tokens_from_messages(messages)
    for limit in (whole // 2, whole // 4):
        trimmed = trim_messages(
            messages,
            max_tokens=limit,
            token_counter=chat,
            strategy="last",
            include_system=True,
            start_on="human",
        )
        assert trimmed[0] == messages[0]
        assert trimmed[-1] == messages[-1]
        assert 2 <= len(trimmed) < len(messages)
        assert prompt_tokens(chat.invoke(trimmed)) <= limit


def test_messages_that_ask_nothing_are_counted_too(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    assert chat.get_num_tokens_from_messages([]) == 0
    reply = AIMessage("Ann founded Alba.")
    assert chat.get_num_tokens_from_messages([reply]) >= model.count_tokens("Ann founded Alba.")
    assert chat.get_num_tokens_from_messages([SystemMessage("Be brief.")]) > 0


def test_a_question_by_its_role_counts_like_a_human_message(chat: OneGenChatModel) -> None:
    by_role = chat.get_num_tokens_from_messages([ChatMessage(role="user", content=QUESTION)])
    assert by_role == chat.get_num_tokens_from_messages([HumanMessage(QUESTION)])
