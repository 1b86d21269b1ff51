"""OneGenChatModel with retrieval on: one message, however it is asked for."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from tests.support.chats import (
    LONG,
    PATHS,
    QUESTION,
    TURNS,
    by_astream,
    content_of,
    engine_of,
    plain,
)
from tests.support.script import scripted


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=400)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("retrieval", ["auto", "never"])
def test_content_usage_and_metadata_are_those_of_invoke(
    path: str, retrieval: Any, chat: OneGenChatModel, model: OneGenModel
) -> None:
    chat.retrieval = retrieval
    expected = plain(chat.invoke(QUESTION))
    engine_of(model).forget()
    reply = plain(PATHS[path](chat, QUESTION))
    if "v3" in path and retrieval == "never":
        reply["content"] = reply["content"][0]["text"]  # always blocks there
    assert reply == expected


def test_a_message_holds_steps_retrievals_and_one_cited_answer(chat: OneGenChatModel) -> None:
    message = chat.invoke(QUESTION)
    assert message.text == "founded by Ann"
    blocks: list[Any] = message.content_blocks
    step, call, result, *_, answer = blocks
    assert [block["type"] for block in blocks] == [
        *("reasoning", "server_tool_call", "server_tool_result") * 2,
        *("reasoning", "text"),
    ]
    assert step["reasoning"] == "Who founded Alba?"
    assert call["args"] == {"queries": ["Who founded Alba?"]}
    assert result["tool_call_id"] == call["id"]
    found = [block["output"][0] for block in blocks if block["type"] == "server_tool_result"]
    assert {one["id"]: one["page_content"] for one in found} == {
        "Alba": "Alba\nIt was founded by Ann.",
        "Brig": "Brig\nBob founded it.",
    }
    cited = {one["title"]: one for one in answer["annotations"]}
    assert all((one["start_index"], one["end_index"]) == (0, 14) for one in cited.values())
    assert cited["Alba"]["cited_text"] == "founded by Ann"
    assert "cited_text" not in cited["Brig"], "the passage does not hold it"


def test_usage_counts_retrieved_tokens_apart(chat: OneGenChatModel, model: OneGenModel) -> None:
    message = chat.invoke(QUESTION)
    usage: Any = message.usage_metadata
    frames = ("Alba\nIt was founded by Ann.", "Brig\nBob founded it.")
    assert usage["input_token_details"]["retrieved"] == sum(
        model.count_tokens(text) + 2 for text in frames
    )
    assert usage["input_token_details"]["cache_read"] == 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    reply = message.response_metadata["onegen"]["usage"]
    assert reply["forwarded"] == usage["total_tokens"] - 1, "one pass, all but the last token"


def test_a_parser_of_strings_gets_the_answer_alone(chat: OneGenChatModel) -> None:
    chain = chat | StrOutputParser()
    assert chain.invoke(QUESTION) == "founded by Ann"
    pieces = list(chain.stream(QUESTION))
    assert "".join(pieces) == "founded by Ann"
    assert len([piece for piece in pieces if piece]) > 2, "in pieces"


def test_without_a_frame_the_answer_is_what_follows_the_last_passages(
    wide_folder: Path, tiny: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store, k=2, max_tokens=100)
    with scripted(tiny, {QUESTION: "Who founded Alba?[RQ] It was Ann."}):
        message = chat.invoke(QUESTION)
    assert message.text == "It was Ann."
    assert [block["type"] for block in message.content_blocks].count("text") == 1


def test_content_is_a_string_where_nothing_is_searched(chat: OneGenChatModel) -> None:
    chat.vectorstore = None
    assert chat.invoke("Guess!").content == "Gera"
    assert all(isinstance(chunk.content, str) for chunk in chat.stream("Guess!"))


def test_retrievals_show_while_the_answer_is_written(chat: OneGenChatModel) -> None:
    kinds = [block["type"] for chunk in chat.stream(QUESTION) for block in chunk.content_blocks]
    first, last = kinds.index("server_tool_result"), len(kinds) - kinds[::-1].index("reasoning")
    assert 0 < first < last < len(kinds)


async def test_cancelling_a_call_stops_the_network_within_a_step(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine = engine_of(model)
    begun = engine.steps
    task = asyncio.create_task(chat.ainvoke(LONG))
    while engine.steps < begun + 10:
        await asyncio.sleep(0.001)
    task.cancel()
    at_cancel = engine.steps
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert engine.steps <= at_cancel + 1
    assert engine.is_idle


def test_closing_a_stream_stops_the_network_at_once(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine, stream = engine_of(model), chat.stream(LONG)
    for _ in range(5):
        next(stream)
    steps = engine.steps
    stream.close()  # type: ignore[attr-defined]
    assert engine.is_idle
    assert engine.steps == steps
    assert chat.invoke("Guess!").text == "Gera"


async def test_closing_an_asynchronous_stream_stops_the_network(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    engine, stream = engine_of(model), chat.astream(LONG)
    for _ in range(5):
        await anext(stream)
    steps = engine.steps
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    assert engine.steps <= steps + 1
    assert engine.is_idle


async def test_the_thread_of_the_event_loop_never_runs_the_network(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    threads: set[threading.Thread] = set()

    def record(*_: Any) -> None:
        threads.add(threading.current_thread())

    hook = model.network.base_model.register_forward_hook(record)
    try:
        for path in (chat.ainvoke(QUESTION), by_astream(chat, QUESTION), chat.abatch([QUESTION])):
            await path
    finally:
        hook.remove()
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_a_batch_is_one_batch_on_the_device(
    is_asynchronous: bool, chat: OneGenChatModel, model: OneGenModel
) -> None:
    questions = [f"{n}. {QUESTION}" for n in range(4)]
    engine = engine_of(model)
    begun = engine.steps
    alone = [chat.invoke(question) for question in questions]
    one_by_one = engine.steps - begun
    begun = engine.steps
    together = asyncio.run(chat.abatch(questions)) if is_asynchronous else chat.batch(questions)
    assert list(map(content_of, together)) == list(map(content_of, alone))
    assert engine.steps - begun < one_by_one / 2


def test_32_threads_get_the_answers_of_one(chat: OneGenChatModel, model: OneGenModel) -> None:
    questions = [f"{n}. {QUESTION}" for n in range(8)]
    expected = [content_of(chat.invoke(question)) for question in questions] * 4
    with ThreadPoolExecutor(32) as pool:
        reply = list(pool.map(lambda question: content_of(chat.invoke(question)), questions * 4))
    assert reply == expected
