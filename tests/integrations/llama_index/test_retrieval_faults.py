"""Hits that cannot be used as they are, metadata that is not JSON, and queries of many requests."""

import asyncio
import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, QueryBundle, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import NodeWithScore, TextNode

from onegen_integrations.llama_index import OneGenChatEngine, OneGenLLM, OneGenQueryEngine
from onegen_integrations.llama_index.node_retriever import NodeRetriever, NodeSource
from onegen_model import Conversation, Message, OneGenModel, Query
from onegen_model.errors import RetrievalError
from tests.integrations.llama_index.conftest import Build, Recorder
from tests.integrations.llama_index.scripted_queries import QUESTION, TURN, context_of
from tests.support.script import scripted

GOOD, BLANK, LONG = (
    TextNode(text="Alba has 3 wheels.", id_="good"),
    TextNode(text=" \n", id_="blank", metadata={"source": "a.txt"}),
    TextNode(text="The mill of Brig turns. " * 60, id_="long"),
)


class Fixed(BaseRetriever):
    """Finds the same nodes at each time."""

    def __init__(self, nodes: Sequence[TextNode]) -> None:
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=node) for node in self.nodes]


@pytest.fixture(autouse=True)
def script(model: OneGenModel, llm: OneGenLLM) -> Any:
    llm.max_tokens = 400
    with scripted(model, {QUESTION: TURN}):
        yield model


def ids_of(response: Any) -> list[str]:
    return [one.node.node_id for one in response.source_nodes]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_empty_hit_is_skipped_and_named(
    asynchronous: bool, llm: OneGenLLM, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OneGenQueryEngine.from_retriever(Fixed([BLANK, GOOD]), llm)
    response: Any = asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)
    assert (response.response, ids_of(response)) == ("Brig", ["good"])
    assert "Document 'blank' is empty; it is skipped" in caplog.messages


def test_a_hit_longer_than_a_passage_is_cut_and_named(
    llm: OneGenLLM, script: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OneGenQueryEngine.from_retriever(Fixed([LONG, GOOD]), llm)
    response, context = context_of(script, engine.query)
    assert ids_of(response) == ["long", "good"]
    assert response.source_nodes[0].node.text == LONG.text, "the node stays whole"
    cut = context.partition("<paragraph>")[2].partition("</paragraph>")[0]
    assert cut.startswith("The mill of Brig turns.")
    assert script.count_tokens(cut) <= script.max_passage_tokens
    assert any("Passage 'long' is longer than 64 tokens" in one for one in caplog.messages)


def test_hits_that_are_all_empty_are_one_error_that_names_them(llm: OneGenLLM) -> None:
    retriever = Fixed([BLANK])
    with pytest.raises(RetrievalError, match=r"Every document found is empty \('blank'\)"):
        OneGenQueryEngine.from_retriever(retriever, llm).query(QUESTION)
    engine = OneGenQueryEngine.from_retriever(retriever, llm, on_retrieval_error="continue")
    response: Any = engine.query(QUESTION)
    assert response.response == "Brig"
    assert "('blank')" in response.metadata["hops"][0]["error"]


ODD = {
    "title": "Alba",
    "seen": datetime(2024, 5, 1, 12, 30),
    "day": date(2024, 5, 1),
    "wheels": np.int64(3),
    "size": np.float32(0.5),
    "row": np.array([1, 2]),
    "tags": {"mill"},
    "file": Path("a") / "b.txt",
}


@pytest.mark.parametrize("way", ["query", "chat"])
def test_a_history_with_metadata_that_is_no_json_can_be_stored(
    way: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    node = TextNode(text="Alba has 3 wheels.", id_="odd", metadata=ODD)
    reply = llm.chat(
        [ChatMessage(QUESTION)], retriever=NodeRetriever(NodeSource(Fixed([node]), llm.shared))
    )
    if way == "chat":
        engine = OneGenChatEngine.from_index(Fixed([node]), llm)
        response: Any = engine.chat(QUESTION)
        assert response.source_nodes[0].node.metadata["seen"] == ODD["seen"], "the original"
        reply.message = engine.chat_history[-1]
    stored = json.dumps(reply.message.model_dump())
    [passage] = json.loads(stored)["additional_kwargs"]["onegen"]["segments"][0]["passages"]
    assert passage["metadata"] == {
        "title": "Alba",
        "seen": "2024-05-01T12:30:00",
        "day": "2024-05-01",
        "wheels": 3,
        "size": 0.5,
        "row": [1, 2],
        "tags": ["mill"],
        "file": "a/b.txt",
    }
    again = ChatMessage.model_validate_json(reply.message.model_dump_json())
    asked = [ChatMessage(QUESTION), again, ChatMessage("And?")]
    assert llm.chat(asked, max_tokens=1).raw["reused"] > 0  # type: ignore[index]


def test_documents_with_a_date_are_indexed_and_retrieved(build: Build, llm: OneGenLLM) -> None:
    document = Document(text="It has a mill.", metadata={"title": None, "seen": ODD["seen"]})
    engine = OneGenQueryEngine.from_index(build("simple", [document]), llm)
    response: Any = engine.query(QUESTION)
    assert response.source_nodes[0].node.metadata["seen"] == ODD["seen"]
    assert json.dumps(response.metadata)


# Queries of many requests.


@pytest.mark.parametrize("asynchronous", [False, True])
def test_queries_that_wait_together_are_searched_together(
    asynchronous: bool, index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    class Counted(NodeRetriever):
        """Remembers the batches."""

        batches: list[int] = []  # noqa: RUF012

        def retrieve(self, queries: Sequence[Query]) -> Any:
            self.batches.append(len(queries))
            return super().retrieve(queries)

        async def aretrieve(self, queries: Sequence[Query]) -> Any:
            self.batches.append(len(queries))
            return await super().aretrieve(queries)

    Counted.batches.clear()
    retriever = Counted(NodeSource(index, llm.shared))
    asked = [Conversation((Message("user", f"{n}. {QUESTION}"),)) for n in range(3)]
    if asynchronous:
        reply: Any = asyncio.run(script.agenerate(asked, retriever=retriever))  # type: ignore
    else:
        reply = script.generate(asked, retriever=retriever)
    assert [one.text for one in reply] == ["Brig"] * 3
    assert sum(Counted.batches) == 6
    assert Counted.batches[0] == 3
    assert asynchronous or Counted.batches[1] == 3, "tasks may continue one by one"


async def test_all_requests_of_an_engine_in_an_event_loop_have_one_retriever(
    index: VectorStoreIndex, llm: OneGenLLM, recorder: Recorder
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm)
    expected: Any = engine.query(QUESTION)
    reply: Any = await asyncio.gather(*(engine.aquery(QUESTION) for _ in range(4)))
    starts = [one for one in recorder.events if type(one).__name__ == "LLMChatStartEvent"]
    assert len(starts) == 5
    assert len({id(one.additional_kwargs["retriever"]) for one in starts[1:]}) == 1
    for response in reply:
        assert ids_of(response) == ids_of(expected)
        assert response.metadata["hops"] == expected.metadata["hops"]


async def test_requests_with_the_same_question_each_receive_their_error(llm: OneGenLLM) -> None:
    class Broken(Fixed):
        """A store that is away."""

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            raise ConnectionError("away")

    engine = OneGenQueryEngine.from_retriever(Broken([]), llm, on_retrieval_error="continue")
    reply: Any = await asyncio.gather(*(engine.aquery(QUESTION) for _ in range(4)))
    for response in reply:
        errors = [hop["error"] for hop in response.metadata["hops"]]
        assert errors == ["ConnectionError: away"] * 2
