"""A model that repeats the call whose result it has just read: the agent ends with an answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock

from onegen_integrations.llama_index import OneGenLLM
from onegen_model import OneGenModel
from tests.integrations.llama_index.scripted_turns import ADD, CALL, last
from tests.support.script import scripted

ASKED = "Add 2 and 3, please."
OTHER = '<tool_call>\n{"name": "add", "arguments": {"a": 4, "b": 4}}\n</tool_call>'
ANSWER = "It is five."


class InOrder(dict[str, Any]):
    """Several turns behind the same words, one for each new prompt."""

    def __getitem__(self, words: str) -> str:
        turns: list[str] = super().__getitem__(words)
        return turns.pop(0) if len(turns) > 1 else turns[0]


@pytest.fixture
def llm(llm: OneGenLLM) -> OneGenLLM:
    llm.max_tokens = 200
    return llm


def history() -> list[ChatMessage]:
    """A question, a call of the tool and its result."""
    call = ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"b": 3, "a": 2})
    return [
        ChatMessage(ASKED),
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage("5", role=MessageRole.TOOL),
    ]


async def by_astream(llm: OneGenLLM) -> Any:
    return await last(llm.astream_chat_with_tools([ADD], chat_history=history()))


PATHS: dict[str, Callable[[OneGenLLM], Any]] = {
    "chat": lambda llm: llm.chat_with_tools([ADD], chat_history=history()),
    "achat": lambda llm: asyncio.run(llm.achat_with_tools([ADD], chat_history=history())),
    "stream": lambda llm: list(llm.stream_chat_with_tools([ADD], chat_history=history()))[-1],
    "astream": lambda llm: asyncio.run(by_astream(llm)),
}


def calls_of(llm: OneGenLLM, response: Any) -> list[dict[str, Any]]:
    found = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return [one.tool_kwargs for one in found]


@pytest.mark.parametrize("path", PATHS)
def test_a_repeated_call_is_dropped_and_the_model_answers_without_tools(
    path: str, llm: OneGenLLM, model: OneGenModel
) -> None:
    offered: Any = llm.chat_with_tools([ADD], chat_history=history(), max_tokens=1)
    unoffered: Any = llm.chat(history(), max_tokens=1)
    with scripted(model, InOrder({"5": [CALL, ANSWER]})):
        response = PATHS[path](llm)
    assert response.message.content == ANSWER
    assert calls_of(llm, response) == []
    prompts = offered.raw["prompt"] + unoffered.raw["prompt"]
    assert response.raw["prompt"] == prompts, "the usage is that of both attempts"


def test_a_stream_shows_nothing_of_the_repeated_call(llm: OneGenLLM, model: OneGenModel) -> None:
    with scripted(model, InOrder({"5": [CALL, ANSWER]})):
        chunks = list(llm.stream_chat_with_tools([ADD], chat_history=history()))
    assert "".join(one.delta or "" for one in chunks) == ANSWER
    assert all(calls_of(llm, one) == [] for one in chunks)


@pytest.mark.parametrize(
    ("turn", "text", "calls"),
    [
        (CALL + OTHER, "", [{"a": 4, "b": 4}]),
        (f"{ANSWER}\n{CALL}", ANSWER, []),
        (OTHER, "", [{"a": 4, "b": 4}]),
    ],
)
def test_a_new_call_beside_a_repeated_one_is_kept(
    turn: str, text: str, calls: list[Any], llm: OneGenLLM, model: OneGenModel
) -> None:
    with scripted(model, {"5": turn}):
        response = llm.chat_with_tools(
            [ADD], chat_history=history(), allow_parallel_tool_calls=True
        )
    assert (response.message.content or "").strip() == text
    assert calls_of(llm, response) == calls


def test_a_new_question_may_be_answered_by_the_same_call(
    llm: OneGenLLM, model: OneGenModel
) -> None:
    asked = [*history(), ChatMessage("It is 5.", role="assistant"), ChatMessage("Once more.")]
    with scripted(model, {"Once more.": CALL}):
        response = llm.chat_with_tools([ADD], chat_history=asked)
    assert calls_of(llm, response) == [{"a": 2, "b": 3}]


def test_a_call_that_is_forced_may_be_a_repetition(llm: OneGenLLM) -> None:
    forced = llm.chat_with_tools([ADD], chat_history=history(), tool_required=True)
    [arguments] = calls_of(llm, forced)
    call = ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs=arguments)
    again = [ChatMessage(ASKED), ChatMessage(role="assistant", blocks=[call]), history()[2]]
    response = llm.chat_with_tools([ADD], chat_history=again, tool_choice="add")
    assert len(calls_of(llm, response)) == 1


@pytest.mark.parametrize("turns", [[CALL, ANSWER], [CALL]])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_ends_although_its_model_repeats_itself(
    streaming: bool, turns: list[str], llm: OneGenLLM, model: OneGenModel
) -> None:
    agent = FunctionAgent(tools=[ADD], llm=llm, streaming=streaming)
    with scripted(model, InOrder({ASKED: [CALL], "5": [*turns]})):
        handler = agent.run(ASKED)
        events = [event async for event in handler.stream_events()]
        response = await handler
    assert len([one for one in events if isinstance(one, ToolCallResult)]) == 1
    assert str(response).strip() == (ANSWER if ANSWER in turns else "")
