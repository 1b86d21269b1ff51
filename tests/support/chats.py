"""Questions with scripted turns, and every path by which LangChain asks a chat model."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from onegen_model import OneGenModel

QUESTION = "Which town is older?"
TURN = (
    "Who founded Alba?[RQ]Ann did.\nWho founded Brig?[RQ]Bob did.\n"
    "<FINAL-ANSWER> founded by Ann </FINAL-ANSWER>"
)
LONG = "Say it often!"
TURNS = {QUESTION: TURN, LONG: "la " * 60, "Guess!": "<FINAL-ANSWER>Gera</FINAL-ANSWER>"}


def engine_of(model: OneGenModel) -> Any:
    return model.engine


def rounded(content: Any) -> Any:
    """Scores of queries that were read in batches of another shape differ in the last digits."""
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return round(content, 4) if isinstance(content, float) else content


def content_of(message: Any) -> Any:
    return rounded(message.content)


def add(chunks: Sequence[Any]) -> Any:
    first, *others = chunks
    return sum(others, first)


def plain(message: Any) -> dict[str, Any]:
    """What has to be the same on all paths."""
    assert isinstance(message, AIMessage)
    content = message.content
    if isinstance(content, list):
        content = [{k: v for k, v in block.items() if k != "index"} for block in content]
    metadata = {k: v for k, v in message.response_metadata.items() if k != "output_version"}
    return {"content": content, "usage": message.usage_metadata, "metadata": metadata}


def by_events_v3(chat: Any, question: str) -> Any:
    stream = chat.stream_events(question, version="v3")
    assert list(stream)
    return stream.output


async def by_aevents_v3(chat: Any, question: str) -> Any:
    stream = await chat.astream_events(question, version="v3")
    assert [event async for event in stream]
    return await stream.output


async def by_astream(chat: Any, question: str) -> Any:
    return add([chunk async for chunk in chat.astream(question)])


async def by_aevents_v2(chat: Any, question: str) -> Any:
    events = [event async for event in chat.astream_events(question, version="v2")]
    streamed = [one["data"]["chunk"] for one in events if one["event"] == "on_chat_model_stream"]
    last = events[-1]
    assert last["event"] == "on_chat_model_end"
    assert plain(add(streamed)) == plain(last["data"]["output"])
    return last["data"]["output"]


async def by_abatch(chat: Any, question: str) -> Any:
    return (await chat.abatch([question]))[0]


PATHS: dict[str, Callable[[Any, str], Any]] = {
    "stream": lambda chat, question: add(list(chat.stream(question))),
    "batch": lambda chat, question: chat.batch([question])[0],
    "events v3": by_events_v3,
    "ainvoke": lambda chat, question: asyncio.run(chat.ainvoke(question)),
    "astream": lambda chat, question: asyncio.run(by_astream(chat, question)),
    "abatch": lambda chat, question: asyncio.run(by_abatch(chat, question)),
    "aevents v2": lambda chat, question: asyncio.run(by_aevents_v2(chat, question)),
    "aevents v3": lambda chat, question: asyncio.run(by_aevents_v3(chat, question)),
}
