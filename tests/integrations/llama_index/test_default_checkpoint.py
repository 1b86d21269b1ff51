"""The default checkpoint answers as by `model.generate`, over every store."""

from collections.abc import Callable
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

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
    "Nordhella": "Nordhella is a town in the north of Haldria.",
    "Ondrel": "Ondrel is a town on the coast of Tarsevia.",
}
QUESTIONS = (
    "When was the director of the film Larch and Iron born?",
    "Where was the director of the film Wet Harvest born?",
)
MAX_TOKENS = 24
STORES: dict[str, Callable[[int], Any]] = {
    "chroma": lambda width: chroma_store("cosine"),
    "faiss": lambda width: FaissVectorStore(faiss.IndexFlatIP(width)),
}


@pytest.fixture(scope="module")
def default() -> OneGenModel:
    return shared_model()


@pytest.fixture(scope="module")
def nodes(default: OneGenModel) -> list[BaseNode]:
    """Embedded once."""
    documents = [Document(text=text, metadata={"title": title}) for title, text in TEXTS.items()]
    nodes = PassageParser().get_nodes_from_documents(documents)
    texts = [one.get_content(MetadataMode.EMBED) for one in nodes]
    for node, vector in zip(nodes, OneGenEmbedding().get_text_embedding_batch(texts), strict=True):
        node.embedding = vector
    return list(nodes)


@pytest.fixture(scope="module")
def expected(default: OneGenModel, nodes: list[BaseNode]) -> list[Answer]:
    passages = [
        Passage(one.node_id, one.get_content(MetadataMode.NONE), one.metadata["title"])
        for one in nodes
    ]
    index = PassageIndex.build(default, passages)
    sampling = SamplingParams(max_new_tokens=MAX_TOKENS)
    return default.generate(QUESTIONS, retriever=index, sampling=sampling)


@pytest.mark.parametrize("kind", STORES)
def test_answers_and_passages_are_those_of_the_core(
    kind: str, default: OneGenModel, nodes: list[BaseNode], expected: list[Answer]
) -> None:
    Settings.llm, Settings.embed_model = OneGenLLM(max_tokens=MAX_TOKENS), OneGenEmbedding()
    storage = StorageContext.from_defaults(vector_store=STORES[kind](default.dimension))
    engine = OneGenQueryEngine.from_index(VectorStoreIndex(nodes, storage_context=storage))
    for question, answer in zip(QUESTIONS, expected, strict=True):
        response: Any = engine.query(question)
        found = [one.passage.id for hop in answer.retrievals for one in hop.passages]
        assert [one.node.node_id for one in response.source_nodes] == found
        assert response.response == answer.text
        assert response.metadata["steps"] == list(answer.steps)
        usage = response.metadata["usage"]
        read = usage["forwarded"] + usage["reused"]
        assert read == usage["prompt"] + usage["written"] + usage["inserted"] - 1
    assert sum(len(answer.retrievals) for answer in expected) >= len(expected)
