"""The default checkpoint over every store: it answers as `model.generate` does."""

import json
from importlib.resources import files
from typing import Any

import faiss
import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.vector_stores.faiss import FaissVectorStore

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)
from onegen_integrations.shared import shared_model
from onegen_model import Answer, OneGenModel, Passage, PassageIndex, SamplingParams
from tests.integrations.llama_index.conftest import chroma_store

pytestmark = pytest.mark.weights

DEMO = files("onegen_model") / "demo"
MAX_TOKENS = 24


@pytest.fixture(scope="module")
def default() -> OneGenModel:
    return shared_model()


@pytest.fixture(scope="module")
def nodes(default: OneGenModel) -> list[BaseNode]:
    """Some paragraphs of the demo, embedded once."""
    lines = (DEMO / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    documents = [Document(text=one["text"], metadata={"title": one["title"]}) for one in told]
    nodes = PassageParser().get_nodes_from_documents(documents)
    nodes = [one for one in nodes if len(one.get_content(MetadataMode.EMBED)) < 300][:12]
    texts = [one.get_content(MetadataMode.EMBED) for one in nodes]
    for node, vector in zip(nodes, OneGenEmbedding().get_text_embedding_batch(texts), strict=True):
        node.embedding = vector
    return list(nodes)


@pytest.fixture(scope="module")
def expected(default: OneGenModel, nodes: list[BaseNode]) -> dict[str, Answer]:
    passages = [
        Passage(one.node_id, one.get_content(MetadataMode.NONE), one.metadata["title"])
        for one in nodes
    ]
    index = PassageIndex.build(default, passages)
    lines = (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [row for row in map(json.loads, lines) if row.get("demo")]
    return {
        one["question"]: default.generate(
            one["question"], retriever=index, sampling=SamplingParams(max_new_tokens=MAX_TOKENS)
        )
        for one in questions[:2]
    }


@pytest.mark.parametrize("kind", ["chroma", "faiss"])
def test_answers_and_passages_are_those_of_the_core(
    kind: str, default: OneGenModel, nodes: list[BaseNode], expected: dict[str, Answer]
) -> None:
    stores: dict[str, Any] = {
        "chroma": lambda: chroma_store("cosine"),
        "faiss": lambda: FaissVectorStore(faiss.IndexFlatIP(default.dimension)),
    }
    Settings.llm, Settings.embed_model = OneGenLLM(max_tokens=MAX_TOKENS), OneGenEmbedding()
    storage = StorageContext.from_defaults(vector_store=stores[kind]())
    engine = OneGenQueryEngine.from_index(VectorStoreIndex(nodes, storage_context=storage))
    for question, answer in expected.items():
        response: Any = engine.query(question)
        found = [one.passage.id for hop in answer.retrievals for one in hop.passages]
        assert [one.node.node_id for one in response.source_nodes] == found
        assert response.response == answer.text
        assert response.metadata["steps"] == list(answer.steps)
        usage = response.metadata["usage"]
        read = usage["forwarded"] + usage["reused"]
        assert read == usage["prompt"] + usage["written"] + usage["inserted"] - 1
    assert sum(len(answer.retrievals) for answer in expected.values()) >= len(expected)
