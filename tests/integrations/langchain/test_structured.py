"""Structured output: it retrieves first, and what was cut is one error."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from onegen_model.errors import OneGenError
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURN = "Who founded Alba?[RQ]Ann did.\nWho founded Brig?[RQ]Bob did.\n"


class Old(BaseModel):
    """Whether it is old."""

    is_old: bool


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, {QUESTION: f"{TURN}<FINAL-ANSWER> Ann</FINAL-ANSWER>"}):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=200)


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_structured_output_of_a_model_with_a_store_retrieves_first(
    method: str, asynchronous: bool, chat: OneGenChatModel
) -> None:
    runnable = chat.with_structured_output(Old, method=method, include_raw=True)
    reply: Any = (
        asyncio.run(runnable.ainvoke(QUESTION)) if asynchronous else runnable.invoke(QUESTION)
    )
    assert isinstance(reply["parsed"], Old)
    blocks = reply["raw"].content
    assert [block["type"] for block in blocks] == [
        *("reasoning", "server_tool_call", "server_tool_result") * 2,
        *("reasoning", "text"),
    ]
    assert json.loads(blocks[-1]["text"]) == reply["parsed"].model_dump()
    assert "FINAL-ANSWER" not in json.dumps(blocks)
    assert blocks[-1]["annotations"]


def test_it_is_one_pass_and_is_replayed_whole(chat: OneGenChatModel, model: OneGenModel) -> None:
    raw: Any = chat.with_structured_output(Old, include_raw=True).invoke(QUESTION)["raw"]
    usage, reply = raw.usage_metadata, raw.response_metadata["onegen"]["usage"]
    # The start of an answer frame, which ends the retrievals, is taken back.
    assert reply["forwarded"] <= usage["total_tokens"] + model.count_tokens("<FINAL-ANSWER>")
    with scripted(model, {"Sure?": "<FINAL-ANSWER>Yes</FINAL-ANSWER>"}):
        sure: Any = chat.invoke([HumanMessage(QUESTION), raw, HumanMessage("Sure?")])
    assert sure.usage_metadata["input_token_details"]["cache_read"] >= usage["total_tokens"] - 1


def test_without_retrieval_it_is_written_at_once(chat: OneGenChatModel) -> None:
    chat.retrieval = "never"
    raw: Any = chat.with_structured_output(Old, include_raw=True).invoke(QUESTION)["raw"]
    assert set(json.loads(raw.content)) == {"is_old"}


class Long(BaseModel):
    """Many words."""

    words: str


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_that_was_cut_is_one_error(method: str, chat: OneGenChatModel) -> None:
    short = chat.model_copy(update={"max_tokens": 4})
    runnable = short.with_structured_output(Long, method=method)
    for ask in (
        lambda: runnable.invoke(QUESTION),
        lambda: asyncio.run(runnable.ainvoke(QUESTION)),
        lambda: list(runnable.stream(QUESTION)),
    ):
        with pytest.raises(OneGenError, match=r"The structured output was cut after \d+ tokens"):
            ask()


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_with_the_raw_message_the_cut_is_the_parsing_error(
    method: str, chat: OneGenChatModel
) -> None:
    short = chat.model_copy(update={"max_tokens": 4})
    runnable = short.with_structured_output(Long, method=method, include_raw=True)
    reply: Any = runnable.invoke(QUESTION)
    assert isinstance(reply["parsing_error"], OneGenError)
    assert reply["parsed"] is None
    assert reply["raw"].response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [Old, Old.model_json_schema()])
def test_structured_output_cut_by_a_stop_string_is_no_smaller_output(
    schema: Any, method: str, chat: OneGenChatModel
) -> None:
    cut = chat.model_copy(update={"stop": ["s_old"]})
    with pytest.raises(OneGenError, match="The structured output was cut by a stop string"):
        cut.with_structured_output(schema, method=method).invoke(QUESTION)
