"""Log-probabilities in a message, in the form of langchain-openai."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.support.chats import QUESTION, TURN, TURNS, add, plain
from tests.support.script import QUERY, scripted


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=400)


def test_every_token_of_the_text_is_told_with_the_best_others(chat: OneGenChatModel) -> None:
    message = chat.invoke(QUESTION, logprobs=True, top_logprobs=3)
    told: dict[str, Any] = message.response_metadata["logprobs"]
    assert told["refusal"] is None
    written = b"".join(bytes(token["bytes"]) for token in told["content"])
    assert written.decode() == TURN.replace(QUERY, "")
    for token in told["content"]:
        assert token["token"].encode() == bytes(token["bytes"])
        assert token["logprob"] < 0
        best = [one["logprob"] for one in token["top_logprobs"]]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert best[0] >= token["logprob"]


def test_streams_tell_the_same(chat: OneGenChatModel) -> None:
    async def collect() -> Any:
        return add([chunk async for chunk in chat.astream(QUESTION)])

    assert "logprobs" not in chat.invoke(QUESTION).response_metadata
    chat.logprobs = True
    streamed, other = add(list(chat.stream(QUESTION))), asyncio.run(collect())
    (one, two) = (each.response_metadata["logprobs"]["content"] for each in (streamed, other))
    for first, second in zip(one, two, strict=True):
        assert first["token"] == second["token"]
        assert first["logprob"] == pytest.approx(second["logprob"], abs=1e-4)
    assert plain(streamed)["content"] == plain(other)["content"]
    assert all(token["top_logprobs"] == [] for token in one)


def test_a_cached_message_without_them_is_not_given_for_one_with_them(
    wide_folder: Path, model: OneGenModel
) -> None:
    chat = OneGenChatModel(model=wide_folder, max_tokens=8, cache=InMemoryCache())
    assert "logprobs" not in chat.invoke(QUESTION).response_metadata
    chat.logprobs = True
    assert chat.invoke(QUESTION).response_metadata["logprobs"]["content"]


@pytest.mark.parametrize(
    ("called", "message"),
    [
        ({"top_logprobs": 3}, "top_logprobs=3 with logprobs=None; expected logprobs=True"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs=21; expected a whole number from 0"),
    ],
)
def test_what_cannot_be_told_is_refused(
    called: dict[str, Any], message: str, chat: OneGenChatModel
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        chat.invoke(QUESTION, **called)
