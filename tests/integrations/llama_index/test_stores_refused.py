"""Indexes that cannot be searched, and searches that a store would not do as asked."""

from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.integrations.llama_index.conftest import DOCUMENTS, STORES, Build
from tests.integrations.llama_index.store_searches import FILTER, QUESTION


@pytest.mark.parametrize("store", STORES)
def test_vectors_of_another_model_are_refused(
    store: str, llm: OneGenLLM, model: OneGenModel, embedding: OneGenEmbedding, twin_folder: Path
) -> None:
    foreign = OneGenEmbedding(model=twin_folder)
    index = VectorStoreIndex.from_documents(
        DOCUMENTS,
        storage_context=StorageContext.from_defaults(vector_store=STORES[store](model.dimension)),
        embed_model=foreign,
        transformations=[PassageParser(foreign)],
    )
    with pytest.raises(PassageIndexError, match=r"embeds with model .*; expected .*; give both"):
        OneGenQueryEngine.from_index(index, llm)
    index._embed_model = embedding  # as if the store was reopened with the wrong one
    with pytest.raises(PassageIndexError, match=r"cosine .*; expected at least 0\.9; fill"):
        OneGenQueryEngine.from_index(index, llm)
    with pytest.raises(PassageIndexError, match=r"cosine .*; expected at least 0\.9; fill"):
        OneGenQueryEngine.from_retriever(index.as_retriever(), llm)


@pytest.mark.parametrize("store", STORES)
def test_vectors_of_another_length_are_refused(
    store: str, llm: OneGenLLM, embedding: OneGenEmbedding, narrow_folder: Path
) -> None:
    narrow = OneGenEmbedding(model=narrow_folder)
    index = VectorStoreIndex.from_documents(
        DOCUMENTS[:1],
        storage_context=StorageContext.from_defaults(vector_store=STORES[store](32)),
        embed_model=narrow,
        transformations=[PassageParser(narrow)],
    )
    index._embed_model = embedding
    with pytest.raises(PassageIndexError, match="have 32 numbers; expected 64, the dimension"):
        OneGenQueryEngine.from_index(index, llm)


def test_an_index_with_other_embeddings_is_refused(llm: OneGenLLM) -> None:
    index = VectorStoreIndex.from_documents(DOCUMENTS, embed_model=MockEmbedding(64))
    with pytest.raises(PassageIndexError, match="embeds with MockEmbedding; expected OneGen"):
        OneGenQueryEngine.from_index(index, llm)


def test_texts_that_this_model_could_not_embed_are_not_its_own(
    llm: OneGenLLM, model: OneGenModel, embedding: OneGenEmbedding
) -> None:
    vector = model.embed_queries([QUESTION])[0].tolist()
    index = VectorStoreIndex(
        [TextNode(text="mill " * 200, embedding=vector)], embed_model=embedding
    )
    with pytest.raises(PassageIndexError, match=r"cosine 0\.00"):
        OneGenQueryEngine.from_index(index, llm)


@pytest.mark.parametrize("store", STORES)
def test_an_empty_index_is_refused(
    store: str, llm: OneGenLLM, model: OneGenModel, embedding: OneGenEmbedding
) -> None:
    storage = StorageContext.from_defaults(vector_store=STORES[store](model.dimension))
    index = VectorStoreIndex([], storage_context=storage, embed_model=embedding)
    with pytest.raises(PassageIndexError, match="is empty; expected passages; add documents"):
        OneGenQueryEngine.from_index(index, llm)


def test_faiss_without_a_docstore_is_refused(
    build: Build, llm: OneGenLLM, embedding: OneGenEmbedding, tmp_path: Path
) -> None:
    store = build("faiss ip").vector_store
    with pytest.raises(ValueError, match="does not store text"):  # by LlamaIndex itself
        VectorStoreIndex.from_vector_store(store, embedding)
    storage = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex([], storage_context=storage, embed_model=embedding)
    with pytest.raises(PassageIndexError, match="has vectors, but the index has no texts"):
        OneGenQueryEngine.from_index(index, llm)


@pytest.mark.parametrize(
    ("store", "options"),
    [
        ("faiss ip", {"filters": FILTER}),
        ("faiss map", {"node_ids": ["1"]}),
        ("chroma cosine", {"node_ids": ["1"]}),
        ("chroma cosine", {"doc_ids": ["1"], "filters": FILTER}),
        ("simple", {"doc_ids": ["1"]}),
    ],
)
def test_what_a_store_would_ignore_is_refused(
    store: str, options: dict[str, Any], indexed: Build, llm: OneGenLLM
) -> None:
    with pytest.raises(InvalidInputError, match=rf"cannot apply {next(iter(options))}; expected"):
        OneGenQueryEngine.from_index(indexed(store), llm, **options)


def test_a_mode_that_a_store_does_not_know_is_refused(indexed: Build, llm: OneGenLLM) -> None:
    for store in ("faiss ip", "chroma cosine", "simple"):
        with pytest.raises(InvalidInputError, match=r"mode='hybrid' over .*; expected one of"):
            OneGenQueryEngine.from_index(
                indexed(store), llm, vector_store_query_mode=VectorStoreQueryMode.HYBRID
            )


def test_an_unknown_mode_is_refused(indexed: Build, llm: OneGenLLM) -> None:
    odd: dict[str, Any] = {"vector_store_query_mode": "mmmr"}
    with pytest.raises(InvalidInputError, match=r"mode='mmmr' over Simple.*; expected one of"):
        OneGenQueryEngine.from_index(indexed("simple"), llm, **odd)


MATCH = MetadataFilter(key="title", value="Al", operator=FilterOperator.TEXT_MATCH)


@pytest.mark.parametrize(
    ("store", "filters", "message"),
    [
        ("chroma cosine", MetadataFilters(filters=[MATCH]), "know operator 'text_match'; expected"),
        (
            "chroma cosine",
            MetadataFilters(filters=[MetadataFilters(filters=[MATCH])]),
            "know operator 'text_match'; expected",
        ),
        (
            "chroma cosine",
            MetadataFilters(filters=[], condition=FilterCondition.NOT),
            "know condition 'not'; expected",
        ),
        ("simple", MetadataFilters(filters=[FILTER]), "know filters inside of filters; expected"),
        ("chroma cosine", {"a": {"$ne": 1}}, r"cannot apply \$ne of 'a' exactly"),
        ("chroma cosine", {"a": {"$contains": "b"}}, r"cannot apply \$contains of 'a' exactly"),
        ("simple", {"a": {"$nin": [1]}}, r"cannot apply \$nin of 'a' exactly"),
        ("simple", {"$not": {"a": {"$gt": 1}}}, r"cannot apply \$not \$gt of 'a' exactly"),
        ("simple", {"a": None}, "it compares text, numbers and lists"),
        ("simple", {"a": 1, "$or": [{"a": 1}, {"b": 2}]}, "know filters inside of filters"),
        ("simple", {"a": {"$near": 1}}, r"has the operator '\$near'; expected"),
        ("faiss ip", {"a": 1}, "Faiss.* cannot apply filters"),
        ("simple", "number = 3", "filters='number = 3'; expected MetadataFilters"),
    ],
)
def test_filters_that_a_store_could_not_apply_are_refused(
    store: str, filters: Any, message: str, indexed: Build, llm: OneGenLLM
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        OneGenQueryEngine.from_index(indexed(store), llm, filters=filters)
