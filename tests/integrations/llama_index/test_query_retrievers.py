"""OneGenRetriever, and OneGenQueryEngine over the retrievers of others."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool

from onegen_integrations.llama_index import OneGenLLM, OneGenQueryEngine, OneGenRetriever
from onegen_integrations.llama_index.node_retriever import NodeRetriever, NodeSource
from onegen_model import OneGenModel
from onegen_model.errors import RetrievalError
from tests.integrations.llama_index.conftest import Build, Positions
from tests.integrations.llama_index.scripted_queries import (
    QUESTION,
    TURN,
    TURNS,
    ByText,
    Gate,
    context_of,
    plain,
    titles,
)
from tests.support.script import scripted


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 400
    with scripted(model, TURNS):
        yield model


def test_the_retriever_finds_what_the_engine_finds_and_writes_no_answer(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel, positions: Positions
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm)
    expected: Any = engine.query(QUESTION)
    retriever = OneGenRetriever.from_index(index, llm)
    script.engine.forget()  # type: ignore[attr-defined]
    positions.count = 0
    found = titles(retriever.retrieve(QUESTION))
    assert found == titles(expected.source_nodes)
    assert positions.count < expected.metadata["usage"]["forwarded"]
    assert titles(asyncio.run(retriever.aretrieve(QUESTION))) == found
    assert titles(engine.retrieve(QueryBundle(QUESTION))) == found
    assert titles(asyncio.run(engine.aretrieve(QueryBundle(QUESTION)))) == found


def test_a_system_prompt_holds_for_the_engine_and_the_retriever(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    llm.system_prompt = "Speak of mills only."
    _, context = context_of(script, OneGenQueryEngine.from_index(index, llm).query)
    assert context.count("Speak of mills only.") == 1
    _, context = context_of(script, OneGenRetriever.from_index(index, llm).retrieve)
    assert context.count("Speak of mills only.") == 1


def test_any_retriever_is_asked_with_text_and_vector(llm: OneGenLLM, script: OneGenModel) -> None:
    retriever = ByText()
    retriever.asked.clear()
    response: Any = OneGenQueryEngine.from_retriever(retriever, llm).query(QUESTION)
    assert [one.node.node_id for one in response.source_nodes] == ["1-0", "1-1", "2-0", "2-1"]
    assert [one.query_str for one in retriever.asked] == ["Wheels of Alba?", "Of Brig?"]
    assert all(len(one.embedding or ()) == script.dimension for one in retriever.asked)
    assert all(type(number) is float for number in retriever.asked[0].embedding or ())


class Five(BaseRetriever):
    """The same five at each time."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=f"{n} wheels", id_=str(n))) for n in range(5)]


def test_a_retriever_gives_all_that_it_finds(llm: OneGenLLM, script: OneGenModel) -> None:
    response: Any = OneGenQueryEngine.from_retriever(Five(), llm).query(QUESTION)
    reply = [hop["node_ids"] for hop in response.metadata["hops"]]
    assert reply == [["0", "1", "2", "3", "4"], []]
    engine = OneGenQueryEngine.from_retriever(Five(), llm, similarity_top_k=3)
    reply = [hop["node_ids"] for hop in engine.query(QUESTION).metadata["hops"]]  # type: ignore
    assert reply == [["0", "1", "2"], ["3", "4"]]


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'


def test_a_call_behind_a_retrieval_is_no_text_of_the_answer(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    add = FunctionTool.from_defaults(lambda a: a, name="add", description="Adds.")
    source = NodeSource(Five(), llm.shared)
    with scripted(script, {QUESTION: f"Wheels of Alba?[RQ]I add. {CALL}"}):
        reply = llm.chat_with_tools([add], QUESTION, retriever=NodeRetriever(source))
    assert reply.message.content == "I add."
    [call] = llm.get_tool_calls_from_response(reply)
    assert call.tool_kwargs == {"a": 2}


@pytest.mark.parametrize("opening", ["Whee", "Wheels of Alba?", "So.\n<FINAL-ANSWER> Br"])
def test_an_answer_that_was_begun_is_continued(
    opening: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    turn = "So.\n<FINAL-ANSWER> Brig </FINAL-ANSWER>" if opening.startswith("So") else TURN
    asked = [ChatMessage(QUESTION), ChatMessage(opening, role="assistant")]
    source = NodeSource(Five(), llm.shared)
    with scripted(script, {QUESTION: turn}):
        reply = llm.chat(asked, retriever=NodeRetriever(source))
    assert reply.message.content == ("ig" if opening.startswith("So") else "Brig")
    segments = reply.message.additional_kwargs["onegen"]["segments"]
    assert "".join(f"{one['text']}" for one in segments) == turn.replace("[RQ]", "")[len(opening) :]


async def test_a_retriever_without_an_asynchronous_search_does_not_block(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    gate = Gate()

    class Slow(ByText):
        """A search that takes its time."""

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            gate.hold()
            return super()._retrieve(query_bundle)

    task = asyncio.create_task(OneGenQueryEngine.from_retriever(Slow(), llm).aquery(QUESTION))
    await gate.open_until(task)
    assert len((await task).source_nodes) == 4
    assert gate.num_held == 2


def test_the_retriever_of_an_index_keeps_its_size_and_returns_cosines(
    indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = indexed("chroma l2")
    by_index: Any = OneGenQueryEngine.from_index(index, llm, similarity_top_k=3).query(QUESTION)
    retriever = index.as_retriever(similarity_top_k=3)
    response: Any = OneGenQueryEngine.from_retriever(retriever, llm, max_retrievals=1).query(
        QUESTION
    )
    assert plain(response)["nodes"] == plain(by_index)["nodes"][:3]


class Broken(ByText):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise ConnectionError("the store is away")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_store_that_fails_ends_the_query_or_is_reported(
    asynchronous: bool, llm: OneGenLLM, script: OneGenModel
) -> None:
    def ask(engine: OneGenQueryEngine) -> Any:
        return asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)

    with pytest.raises(RetrievalError, match="ConnectionError: the store is away"):
        ask(OneGenQueryEngine.from_retriever(Broken(), llm))
    engine = OneGenQueryEngine.from_retriever(Broken(), llm, on_retrieval_error="continue")
    response = ask(engine)
    assert response.response == "Brig"
    assert response.source_nodes == []
    assert [hop["error"] for hop in response.metadata["hops"]] == [
        "ConnectionError: the store is away"
    ] * 2
