"""Windows over LlamaIndex's stores, source nodes, and nodes of its usual splitter."""

import asyncio
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter, TokenTextSplitter
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from onegen_integrations.llama_index import (
    OneGenChatEngine,
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)
from onegen_model import OneGenModel, Passage, PassagePlace
from onegen_model.errors import InvalidInputError, RetrievalError
from tests.integrations.llama_index.conftest import STORES, chroma_store
from tests.integrations.llama_index.scripted_queries import ByText
from tests.support.script import scripted

QUESTION, NEXT = "Who founded Alba?", "And Brig?"
TURNS = {
    QUESTION: "[RQ]Ann did.\n<FINAL-ANSWER> Ann</FINAL-ANSWER>",
    NEXT: "[RQ]<FINAL-ANSWER>Bob</FINAL-ANSWER>",
}
TEXT = " ".join(f"The town number {n} lies by the river, and its mill is old." for n in range(24))
OTHER = Document(text="Nothing is known of it.", metadata={"title": "Other"}, id_="other")


@pytest.fixture(autouse=True)
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


def over(store: Any, model: OneGenModel, embedding: OneGenEmbedding, nodes: Any) -> Any:
    made = STORES[store](model.dimension) if isinstance(store, str) else store
    context = StorageContext.from_defaults(vector_store=made)
    return VectorStoreIndex(nodes, storage_context=context, embed_model=embedding)


@pytest.fixture
def nodes(embedding: OneGenEmbedding) -> list[Any]:
    """By PassageParser, related to each other, of two documents."""
    document = Document(text=TEXT, metadata={"title": "Towns"}, id_="towns")
    parsed = PassageParser(embedding).get_nodes_from_documents([document, OTHER])
    for at, node in enumerate(parsed):
        node.metadata["half"] = "first" if at < 4 else "second"
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, "half"]
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, "half"]
    assert len(parsed) > 7
    return list(parsed)


def engine_over(index: Any, llm: OneGenLLM, **options: Any) -> OneGenQueryEngine:
    return OneGenQueryEngine.from_index(
        index, llm, **{"similarity_top_k": 1, "window": 1, **options}
    )


def numbers(node: Any) -> list[int]:
    words = node.get_content().split()
    return [int(after) for word, after in pairwise(words) if word == "number"]


@pytest.mark.parametrize("store", ["chroma cosine", "faiss ip", "simple"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_hit_is_widened_by_related_nodes(
    store: str,
    asynchronous: bool,
    nodes: list[Any],
    model: OneGenModel,
    embedding: OneGenEmbedding,
    llm: OneGenLLM,
) -> None:
    index = over(store, model, embedding, nodes[:-1])
    by_id = {one.node_id: at for at, one in enumerate(nodes)}
    engine = engine_over(index, llm)
    response: Any = asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)
    assert response.response == "Ann"
    (scored,) = response.source_nodes
    at = by_id[scored.node.node_id]
    around = nodes[max(at - 1, 0) : min(at + 2, len(nodes) - 1)]
    assert numbers(scored.node) == [n for one in around for n in numbers(one)]
    known: Any = scored.node
    assert known.start_char_idx == around[0].start_char_idx
    assert known.end_char_idx == around[-1].end_char_idx
    content = scored.node.get_content(metadata_mode="embed")
    assert content.startswith("Towns\n")
    assert content.count("Towns") == 1
    usage = response.metadata["usage"]
    assert usage["inserted"] == len(model.renderer.frame_ids(Passage("1", content)))


def test_a_chat_reads_no_neighbour_twice(
    nodes: list[Any], model: OneGenModel, embedding: OneGenEmbedding, llm: OneGenLLM
) -> None:
    index = over("chroma cosine", model, embedding, nodes)
    chat = OneGenChatEngine.from_index(index, llm, similarity_top_k=2, window=1)
    first, second = chat.chat(QUESTION), chat.chat(NEXT)
    read = [n for reply in (first, second) for one in reply.source_nodes for n in numbers(one.node)]
    assert len(read) == len(set(read)) > 8


def test_neighbours_pass_the_filters(
    nodes: list[Any], model: OneGenModel, embedding: OneGenEmbedding, llm: OneGenLLM
) -> None:
    index = over("chroma cosine", model, embedding, nodes[:-1])
    half = MetadataFilter(key="half", value="first")
    either = MetadataFilters(
        filters=[half, MetadataFilter(key="half", value="third", operator=FilterOperator.EQ)],
        condition=FilterCondition.OR,
    )
    allowed = [n for one in nodes[:4] for n in numbers(one)]
    for filters in (MetadataFilters(filters=[half]), either, MetadataFilters(filters=[either])):
        response: Any = engine_over(index, llm, window=9, filters=filters).query(QUESTION)
        (scored,) = response.source_nodes
        assert numbers(scored.node) == allowed


def test_a_source_without_an_index_is_refused_at_once(llm: OneGenLLM, nodes: list[Any]) -> None:
    by_text = ByText(nodes[:1])
    with pytest.raises(InvalidInputError, match="A window over ByText, which cannot fetch nodes"):
        OneGenQueryEngine.from_retriever(by_text, llm, window=1)


def test_a_retriever_of_an_index_is_widened_too(
    nodes: list[Any], model: OneGenModel, embedding: OneGenEmbedding, llm: OneGenLLM
) -> None:
    retriever = over("simple", model, embedding, nodes[:-1]).as_retriever(similarity_top_k=1)
    engine = OneGenQueryEngine.from_retriever(retriever, llm, window=1)
    (scored,) = engine.query(QUESTION).source_nodes
    assert len(numbers(scored.node)) > max(len(numbers(one)) for one in nodes)


def placed(chunk: int) -> TextNode:
    file, span = "docs/towns.pdf", (40 * chunk, 40 * chunk + 39)
    place = PassagePlace(file, file, chunk, 6, pages=(3, 3), span=span)
    return TextNode(
        id_=place.passage_id,
        text=f"The town number {chunk} lies by the river.",
        metadata={"file_name": "my own", **place.to_metadata()},
        excluded_embed_metadata_keys=["file_name", "onegen"],
        excluded_llm_metadata_keys=["file_name", "onegen"],
    )


def test_source_nodes_say_where_they_stand(
    model: OneGenModel, embedding: OneGenEmbedding, llm: OneGenLLM
) -> None:
    index = over("simple", model, embedding, [placed(n) for n in range(6)])
    (scored,) = engine_over(index, llm).query(QUESTION).source_nodes
    node: Any = scored.node
    at = int(node.node_id.rpartition("#")[2])
    chunks = list(range(max(at - 1, 0), min(at + 2, 6)))
    assert numbers(node) == chunks
    assert node.metadata["file_path"] == "docs/towns.pdf"
    assert node.metadata["file_name"] == "my own"
    assert node.metadata["page_label"] == "3"
    assert (node.start_char_idx, node.end_char_idx) == (40 * chunks[0], 40 * chunks[-1] + 39)
    assert "towns.pdf" not in node.get_content(metadata_mode="llm")
    again = over(chroma_store(), model, embedding, [node])
    assert engine_over(again, llm, window=0).query(QUESTION).source_nodes
    assert index.docstore.get_document(node.node_id).metadata == placed(at).metadata


def test_a_failing_store_costs_the_neighbours_or_the_answer(
    nodes: list[Any],
    model: OneGenModel,
    embedding: OneGenEmbedding,
    llm: OneGenLLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = over("simple", model, embedding, nodes)

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("gone")

    engine = engine_over(index, llm)
    patient = engine_over(index, llm, on_retrieval_error="continue")
    monkeypatch.setattr("onegen_integrations.llama_index.node_retriever.fetch_neighbours", fail)
    with pytest.raises(RetrievalError, match="NodeRetriever raised ConnectionError: gone"):
        engine.query(QUESTION)
    (scored,) = patient.query(QUESTION).source_nodes
    assert scored.node.text in [node.text for node in nodes]


PARSERS = {"sentences": SentenceSplitter(), "tokens": TokenTextSplitter()}


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS.keys())
@pytest.mark.parametrize("store", ["chroma cosine", "faiss ip"])
def test_the_usual_splitters_work_with_their_defaults_and_one_warning(
    store: str,
    parser: Any,
    model: OneGenModel,
    embedding: OneGenEmbedding,
    llm: OneGenLLM,
    caplog: pytest.LogCaptureFixture,
) -> None:
    documents = [
        Document(text=f"{n}. {TEXT} " * 12, metadata={"file_path": f"{n}.txt"}) for n in range(6)
    ]
    parsed = parser.get_nodes_from_documents(documents)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        index = over(store, model, embedding, parsed)
    assert len([one for one in caught if "PassageParser" in str(one.message)]) == 1
    response: Any = engine_over(index, llm, window=0).query(QUESTION)
    assert response.response == "Ann"
    (scored,) = response.source_nodes
    original = {one.node_id: one for one in parsed}[scored.node.node_id]
    assert scored.node.get_content() == original.get_content()
    assert response.metadata["usage"]["inserted"] <= model.max_passage_tokens + 2
    assert "and was cut" in caplog.text
