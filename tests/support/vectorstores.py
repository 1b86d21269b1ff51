"""Real stores of eight towns, made in many ways, and stores that can do less."""

import itertools
from array import array
from collections.abc import Callable
from typing import Any

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_community.vectorstores import FAISS
from langchain_community.vectorstores.utils import DistanceStrategy
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import Field

from onegen_model import Query

TOWNS = ("Alba", "Brig", "Cary", "Dorn", "Elva", "Fink", "Gera", "Hof")
DOCUMENTS = [
    Document(
        id=town.lower(),
        page_content=f"{town}\nA town by the river.",
        metadata={"title": town, "number": at, "bank": "north" if at % 2 else "south"},
    )
    for at, town in enumerate(TOWNS)
]
QUESTION = "Where is the mill of Cary?"

Build = Callable[[Embeddings, list[Document]], VectorStore]
_names = itertools.count()


def chroma(**options: Any) -> Build:
    def build(embeddings: Embeddings, documents: list[Document]) -> VectorStore:
        client = chromadb.EphemeralClient()
        store = Chroma(f"test-{next(_names)}", embeddings, client=client, **options)
        if documents:
            store.add_documents(documents)
        return store

    return build


def faiss(**options: Any) -> Build:
    def build(embeddings: Embeddings, documents: list[Document]) -> VectorStore:
        store = FAISS.from_documents(documents or DOCUMENTS, embeddings, **options)
        if not documents:
            store.delete([document.id for document in DOCUMENTS])
        return store

    return build


def in_memory(embeddings: Embeddings, documents: list[Document]) -> VectorStore:
    store = InMemoryVectorStore(embeddings)
    store.add_documents(documents)
    return store


STORES: dict[str, Build] = {
    "chroma": chroma(),
    "chroma l2": chroma(collection_configuration={"hnsw": {"space": "l2"}}),
    "chroma cosine": chroma(collection_configuration={"hnsw": {"space": "cosine"}}),
    "chroma ip": chroma(collection_configuration={"hnsw": {"space": "ip"}}),
    "chroma metadata": chroma(collection_metadata={"hnsw:space": "cosine"}),
    "faiss": faiss(),
    "faiss normalised": faiss(normalize_L2=True),
    "faiss cosine": faiss(normalize_L2=True, distance_strategy=DistanceStrategy.COSINE),
    "faiss ip": faiss(distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT),
    "in memory": in_memory,
}
ONE_OF_EACH = {name: STORES[name] for name in ("chroma", "faiss", "in memory")}
each_store = pytest.mark.parametrize("build", STORES.values(), ids=STORES.keys())
one_of_each = pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH.keys())


class TextStore(VectorStore):
    """A store as most are: it embeds the text itself, and cannot be asked by vector."""

    def __init__(self, embedding: Embeddings) -> None:
        self.inner = InMemoryVectorStore(embedding)

    @property
    def embeddings(self) -> Embeddings:
        return self.inner.embeddings

    def add_texts(self, *args: Any, **kwargs: Any) -> list[str]:
        return self.inner.add_texts(*args, **kwargs)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return self.inner.similarity_search(query, k, **kwargs)

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> "TextStore":
        raise NotImplementedError


class VectorOnly(TextStore):
    """A store that can be asked by vector, but returns no scores."""

    asked: Any = None

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        self.asked = {"embedding": embedding, "k": k, **kwargs}
        return self.inner.similarity_search_by_vector(embedding, k)


class Words(BaseRetriever):
    """Finds by words, as BM25 would; shows what it was asked."""

    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.asked.append(query)
        return [d for d in DOCUMENTS if d.page_content.split("\n")[0] in query] + DOCUMENTS


def ask(vector: list[float], top_k: int = 3, text: str = QUESTION, **rest: Any) -> Query:
    return Query(array("f", vector), text, top_k, **rest)
