"""OneGenChatEngine: a second turn reads only what is new, also from a memory that was stored."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, Memory

from onegen_integrations.llama_index import (
    OneGenChatEngine,
    OneGenEmbedding,
    OneGenLLM,
    PassageParser,
)
from onegen_integrations.llama_index.chat_engine import TranscriptMemory
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel
from onegen_model.errors import ContextTooLongError, InvalidInputError, RetrievalError
from tests.conftest import MakeNetwork
from tests.integrations.llama_index.conftest import DOCUMENTS, Build, Positions, Recorder
from tests.support.integrations_models import save_model
from tests.support.script import scripted

FIRST, SECOND = "Which mill is larger?", "And which is smaller?"
TURNS = {
    FIRST: "Wheels of Alba?[RQ]3.\nOf Brig?[RQ]4.\n<FINAL-ANSWER> Brig </FINAL-ANSWER>",
    SECOND: "Wheels of Chur?[RQ]5.\n<FINAL-ANSWER>Alba</FINAL-ANSWER>",
    "More?": "la " * 20,
}
WAYS = ("chat", "achat", "stream_chat", "astream_chat")


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


@pytest.fixture
def engine(index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel) -> OneGenChatEngine:
    return OneGenChatEngine.from_index(index, llm)


def tell(engine: OneGenChatEngine, way: str, message: str, **options: Any) -> Any:
    """The whole response."""

    async def run() -> Any:
        response: Any = await getattr(engine, way)(message, **options)
        if way == "astream_chat":
            assert "".join([text async for text in response.async_response_gen()])
        return response

    if way.startswith("a"):
        return asyncio.run(run())
    response = getattr(engine, way)(message, **options)
    if way == "stream_chat":
        assert "".join(response.response_gen)
    return response


@pytest.mark.parametrize("way", WAYS)
def test_a_turn_is_the_same_on_every_way(
    way: str, engine: OneGenChatEngine, script: OneGenModel
) -> None:
    expected: Any = engine.chat(FIRST)
    history = engine.chat_history
    engine.reset()
    assert engine.chat_history == []
    script.engine.forget()  # type: ignore[attr-defined]
    reply = tell(engine, way, FIRST)
    assert reply.response == expected.response == "Brig"
    assert [one.node.node_id for one in reply.source_nodes] == [
        one.node.node_id for one in expected.source_nodes
    ]
    assert [one.raw_output for one in reply.sources] == expected.metadata["hops"]
    assert [one.raw_input["query"] for one in reply.sources] == ["Wheels of Alba?", "Of Brig?"]
    assert engine.chat_history == history


@pytest.mark.parametrize("way", WAYS)
def test_the_second_turn_reads_only_what_is_new(
    way: str, engine: OneGenChatEngine, script: OneGenModel, positions: Positions
) -> None:
    positions.count = 0
    first: Any = engine.chat(FIRST)
    one = first.metadata["usage"]
    assert positions.count == one["forwarded"]
    whole = one["prompt"] + one["written"] + one["inserted"]
    positions.count = 0
    reply = tell(engine, way, SECOND)
    assert reply.response == "Alba"
    asked = len(script.renderer.next_question_ids(SECOND, [script.renderer.end_id]))
    written = len(script.renderer.text_ids("Wheels of Chur?")) + 1
    written += len(script.renderer.text_ids("5.\n<FINAL-ANSWER>Alba</FINAL-ANSWER>")) + 1
    inserted = sum(
        script.count_tokens(f"{node.node.metadata['title']}\n{node.node.text}") + 2
        for node in reply.source_nodes
    )
    # The last token of either turn, its end, is not read in its own turn.
    assert positions.count == asked + written + inserted
    if way in ("chat", "achat"):
        usage = reply.metadata["usage"]
        assert usage["forwarded"] == positions.count
        assert usage["reused"] == whole - 1


@pytest.mark.parametrize("way", ["chat", "astream_chat"])
def test_a_memory_that_was_stored_is_not_read_again(
    way: str, engine: OneGenChatEngine, llm: OneGenLLM, index: Any, positions: Positions
) -> None:
    tell(engine, way, FIRST)
    stored = json.dumps([one.model_dump(mode="json") for one in engine.chat_history])
    positions.count = 0
    expected = engine.chat(SECOND).metadata["usage"]  # type: ignore[union-attr, index]
    messages = [ChatMessage.model_validate(one) for one in json.loads(stored)]
    for memory in (
        TranscriptMemory.from_defaults([*messages], token_limit=3000),
        ChatMemoryBuffer.from_defaults([*messages], token_limit=3000),
    ):
        reopened = OneGenChatEngine.from_index(index, llm, memory=memory)
        reply: Any = reopened.chat(SECOND)
        assert reply.response == "Alba"
        usage = reply.metadata["usage"]
        assert usage["prompt"] == expected["prompt"], "the very tokens"
        assert usage["reused"] >= expected["reused"]


async def test_a_memory_in_a_database_is_not_read_again(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel, tmp_path: Path
) -> None:
    usages = []
    for message in (FIRST, SECOND):
        memory = Memory.from_defaults(
            session_id="one",
            token_limit=3000,
            async_database_uri=f"sqlite+aiosqlite:///{tmp_path}/memory.db",
        )
        engine = OneGenChatEngine.from_index(index, llm, memory=memory)
        reply: Any = await engine.achat(message)
        usages.append(reply.metadata["usage"])
    first, second = usages
    assert second["reused"] == first["prompt"] + first["written"] + first["inserted"] - 1


def test_a_history_of_the_caller_takes_the_place_of_the_memory(engine: OneGenChatEngine) -> None:
    engine.chat(SECOND)
    reply = engine.chat(
        FIRST, chat_history=[ChatMessage("Hi."), ChatMessage("Ho.", role="assistant")]
    )
    assert reply.response == "Brig"
    assert [one.content for one in engine.chat_history] == ["Hi.", "Ho.", FIRST, "Brig"]


@pytest.mark.parametrize("by_llm", [False, True])
def test_a_system_prompt_comes_first_and_once(
    by_llm: bool, index: VectorStoreIndex, llm: OneGenLLM, script: Any, recorder: Recorder
) -> None:
    if by_llm:
        llm.system_prompt = "Be kind."
    engine = OneGenChatEngine.from_index(index, llm, system_prompt=None if by_llm else "Be kind.")
    engine.chat(FIRST)
    [start] = [one for one in recorder.events if type(one).__name__ == "LLMChatStartEvent"]
    assert [one.content for one in start.messages] == ["Be kind.", FIRST]
    assert [one.content for one in engine.chat_history] == [FIRST, "Brig"]


def test_a_conversation_continues_when_the_context_is_full(
    make_network: MakeNetwork, tmp_path: Path
) -> None:
    short = save_model(make_network, tmp_path, max_position_embeddings=640)
    embedding, llm = OneGenEmbedding(model=short), OneGenLLM(model=short, max_tokens=120)
    index = VectorStoreIndex.from_documents(
        DOCUMENTS, embed_model=embedding, transformations=[PassageParser(embedding)]
    )
    engine = OneGenChatEngine.from_index(index, llm, similarity_top_k=1)
    usages = []
    with scripted(shared_model(short), TURNS):
        for turn in range(6):
            reply: Any = engine.chat(f"{turn}. {FIRST}")
            assert reply.response == "Brig"
            usages.append(reply.metadata["usage"])
    assert len(engine.chat_history) == 12
    longest = max(one["prompt"] + one["written"] + one["inserted"] for one in usages)
    assert longest <= 640
    growth = usages[1]["prompt"] - usages[0]["prompt"]
    assert usages[-1]["prompt"] < 4 * growth, "some turns are gone"
    assert usages[-1]["prompt"] > growth, "but not all"


def test_a_message_longer_than_the_context_is_one_error(engine: OneGenChatEngine) -> None:
    with pytest.raises(ContextTooLongError, match="expected at most"):
        engine.chat("mill " * 3000)
    with pytest.raises(InvalidInputError, match="expected some text"):
        OneGenChatEngine.chat(engine, " ", chat_history=[])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_while_it_streams_reaches_the_reader(
    build: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = build("faiss ip")
    engine = OneGenChatEngine.from_index(index, llm)

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the store is away")

    object.__setattr__(index.vector_store, "query", fail)
    with pytest.raises(RetrievalError, match="the store is away"):
        list(engine.stream_chat(FIRST).response_gen)

    async def run() -> None:
        response = await engine.astream_chat(FIRST)
        async for _ in response.async_response_gen():
            pass

    with pytest.raises(RetrievalError, match="the store is away"):
        asyncio.run(run())


def test_source_nodes_fill_while_a_turn_streams(engine: OneGenChatEngine) -> None:
    response = engine.stream_chat(FIRST)
    seen = [len(response.source_nodes) for _ in response.response_gen]
    assert seen[0] == 4
    assert response.response == "Brig"


async def test_the_event_loop_turns_while_a_turn_streams(engine: OneGenChatEngine) -> None:
    ticks = 0

    async def run() -> None:
        response = await engine.astream_chat("More?")
        async for _ in response.async_response_gen():
            pass

    task = asyncio.create_task(run())
    while not task.done():
        await asyncio.sleep(0.001)
        ticks += 1
    await task
    assert ticks > 20
