"""No markup of the transcript leaves the parser, whichever component of LlamaIndex asks."""

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import ToolMetadata

from onegen_integrations.llama_index import OneGenChatEngine, OneGenLLM, OneGenQueryEngine
from onegen_model import OneGenModel
from tests.support.script import scripted

QUESTION = "Which mill is larger?"
TURNS = {
    "twice": "Brig</FINAL-ANSWER></FINAL-ANSWER>",
    "again": "<FINAL-ANSWER>Brig</FINAL-ANSWER><FINAL-ANSWER>Brig</FINAL-ANSWER>",
    "open": "<FINAL-ANSWER>Brig",
    "cut start": "Brig.\n<FINAL-ANS",
    "cut end": "<FINAL-ANSWER>Brig</FINAL-ANS",
}
PATHS: dict[str, Callable[[OneGenLLM], str]] = {
    "complete": lambda llm: llm.complete(QUESTION).text,
    "chat": lambda llm: llm.chat([ChatMessage(QUESTION)]).message.content or "",
    "stream": lambda llm: "".join(one.delta or "" for one in llm.stream_complete(QUESTION)),
    "chat engine": lambda llm: str(SimpleChatEngine.from_defaults(llm=llm).chat(QUESTION)),
}


@pytest.fixture(autouse=True)
def longer(llm: OneGenLLM) -> None:
    llm.max_tokens = 100


def has_markup(text: str) -> bool:
    return any(sign in text for sign in ("<", ">", "FINAL", "paragraph"))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_without_retrieval_has_no_markup(
    path: str, turn: str, llm: OneGenLLM, model: OneGenModel
) -> None:
    with scripted(model, {QUESTION: TURNS[turn]}):
        text = PATHS[path](llm)
    assert "Brig" in text
    assert not has_markup(text)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_behind_a_retrieval_has_no_markup(
    streaming: bool, turn: str, index: VectorStoreIndex, llm: OneGenLLM, model: OneGenModel
) -> None:
    with scripted(model, {QUESTION: f"Wheels of Alba?[RQ]{TURNS[turn]}"}):
        engine = OneGenQueryEngine.from_index(index, llm, streaming=streaming)
        text = str(engine.query(QUESTION))
        chat = OneGenChatEngine.from_index(index, llm)
        reply = "".join(chat.stream_chat(QUESTION).response_gen)
    assert "Brig" in text
    assert not has_markup(text + reply)


def test_selectors_and_question_generators_read_no_markup(
    llm: OneGenLLM, model: OneGenModel
) -> None:
    Settings.llm = llm
    llm.max_tokens = 300
    tools = [ToolMetadata("Knows mills.", "mills"), ToolMetadata("Knows rivers.", "rivers")]
    choice = '<FINAL-ANSWER>[{"choice": 1, "reason": "mills"}]</FINAL-ANSWER></FINAL-ANSWER>'
    with scripted(model, {QUESTION: choice}):
        selected = LLMSingleSelector.from_defaults(llm).select(tools, QUESTION)
    assert [one.index for one in selected.selections] == [0]
    asked = (
        '<FINAL-ANSWER>{"items": [{"sub_question": "How large?", "tool_name": "mills"}]}'
        "</FINAL-ANSWER></FINAL-ANSWER>"
    )
    with scripted(model, {QUESTION: asked}):
        questions: Any = LLMQuestionGenerator.from_defaults(llm).generate(
            tools, QueryBundle(QUESTION)
        )
    assert [one.sub_question for one in questions] == ["How large?"]
