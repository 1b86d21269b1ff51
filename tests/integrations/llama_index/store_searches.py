"""One retrieval over an index, and what true cosines would have found."""

from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, OneGenQueryEngine
from onegen_model import OneGenModel
from tests.integrations.llama_index.conftest import DOCUMENTS

QUESTION = "Which mill is larger?"


def found_by(index: VectorStoreIndex, llm: OneGenLLM, **options: Any) -> list[tuple[str, float]]:
    """Titles and scores of one retrieval, made right after the question."""
    options = {"similarity_top_k": 4, **options}
    engine = OneGenQueryEngine.from_index(
        index, llm, retrieval="always", max_retrievals=1, **options
    )
    nodes = engine.query(QUESTION).source_nodes
    return [(one.node.metadata["title"], one.score or 0.0) for one in nodes]


def best(model: OneGenModel, documents: list[Document] = DOCUMENTS) -> list[tuple[str, float]]:
    """The same by true cosines."""
    texts = [f"{one.metadata['title']}\n{one.text}" for one in documents]
    rows = np.array([OneGenEmbedding(model=model).get_text_embedding(text) for text in texts])
    cosines = rows @ model.embed_queries([QUESTION])[0]
    named = zip((one.metadata["title"] for one in documents), cosines.tolist(), strict=True)
    return sorted(named, key=lambda one: -one[1])


def check(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [title for title, _ in found] == [title for title, _ in expected]
    assert [score for _, score in found] == pytest.approx([one[1] for one in expected], abs=1e-4)


FILTER = MetadataFilters(filters=[MetadataFilter(key="number", value=3)])
