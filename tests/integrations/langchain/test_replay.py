"""A turn whose model searched at once is read from the cache when it is sent back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_community.chat_message_histories import FileChatMessageHistory
from langchain_core.chat_history import BaseChatMessageHistory, InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from onegen_integrations.langchain import OneGenChatModel
from onegen_integrations.langchain.messages import to_conversation
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.support.script import scripted

QUESTION = "Who founded Alba?"
NEXT = "And Brig?"
TURNS = {
    QUESTION: "[RQ]Ann did.\n<FINAL-ANSWER> Ann</FINAL-ANSWER>",
    NEXT: "[RQ]<FINAL-ANSWER>Bob</FINAL-ANSWER>",
}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=200)


def check_all_is_reused(first: Any, second: Any) -> None:
    """Every token of the first turn but its last one, behind which nothing was computed."""
    assert first.text == "Ann"
    assert second.text == "Bob"
    reused = second.usage_metadata["input_token_details"]["cache_read"]
    assert reused == first.usage_metadata["total_tokens"] - 1


def in_memory(folder: Path) -> BaseChatMessageHistory:
    return InMemoryChatMessageHistory()


def in_a_file(folder: Path) -> BaseChatMessageHistory:
    return FileChatMessageHistory(str(folder / "history.json"))


@pytest.mark.parametrize("make_history", [in_memory, in_a_file])
def test_a_turn_that_searched_at_once_comes_back_whole_from_a_message_history(
    make_history: Any, chat: OneGenChatModel, tmp_path: Path
) -> None:
    history = make_history(tmp_path)
    remembering: Any = RunnableWithMessageHistory(chat, lambda session_id: history)
    config: Any = {"configurable": {"session_id": "1"}}
    first = remembering.invoke([HumanMessage(QUESTION)], config)
    check_all_is_reused(first, remembering.invoke([HumanMessage(NEXT)], config))


@pytest.mark.parametrize("retrieval", ["auto", "always"])
def test_a_turn_that_searched_at_once_comes_back_whole_from_a_checkpointer(
    retrieval: Any, chat: OneGenChatModel
) -> None:
    chat.retrieval = retrieval
    builder = StateGraph(MessagesState)
    builder.add_node("chat", lambda state: {"messages": [chat.invoke(state["messages"])]})
    builder.add_edge(START, "chat")
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = graph.invoke({"messages": [HumanMessage(QUESTION)]}, config)["messages"][-1]
    second = graph.invoke({"messages": [HumanMessage(NEXT)]}, config)["messages"][-1]
    check_all_is_reused(first, second)


def test_its_blocks_alone_are_read_as_they_were_written(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    first = asyncio.run(chat.ainvoke(QUESTION))
    bare = AIMessage(first.content)
    conversation = to_conversation([HumanMessage(QUESTION), bare], model.template)
    begun, *_ = conversation.opening
    assert (begun.text, begun.retrieves) == ("", True)


def test_a_query_line_that_was_taken_out_of_a_turn_is_put_back(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    first: Any = chat.invoke(QUESTION)
    asked = [one for one in first.content if one["type"] == "server_tool_call"]
    asked[0]["args"] = {"queries": ["Who was it?"]}
    conversation = to_conversation([HumanMessage(QUESTION), AIMessage(asked)], model.template)
    assert conversation.opening[0].text == "Who was it?"


@pytest.mark.parametrize(
    ("at", "change", "kind"),
    [
        (0, {"args": {}}, "server_tool_call"),
        (0, {"args": {"queries": []}}, "server_tool_call"),
        (1, {"output": [{"id": "Alba", "page_content": "Alba"}]}, "server_tool_result"),
        (1, {"output": ["Alba"]}, "server_tool_result"),
    ],
)
def test_a_block_that_a_user_has_changed_is_named(
    at: int, change: dict[str, Any], kind: str, chat: OneGenChatModel
) -> None:
    first: Any = chat.invoke(QUESTION)
    first.content[at].update(change)
    with pytest.raises(InvalidInputError, match=f"A {kind} that was changed"):
        chat.invoke([HumanMessage(QUESTION), first, HumanMessage(NEXT)])
