"""Scores of LlamaIndex's stores as cosines, and what cannot be searched by vector refused."""

import math
from collections.abc import Callable
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from onegen_integrations.shared import SharedModel
from onegen_model.errors import PassageIndexError

ToCosine = Callable[[float], float]


def cosine_of(store: Any) -> ToCosine | None:
    """What makes a cosine of unit vectors of the store's similarity; None where that is not known.

    Chroma hands out `exp(-distance)`, and its distance is `2 - 2 cos` (l2) or `1 - cos`; FAISS the
    inner product or the squared distance, which is lower for what is nearer.
    """
    kind = type(store).__name__
    if kind == "ChromaVectorStore":
        metric = _chroma_space(store._collection)
        scale = 2 if metric == "l2" else 1
        return lambda score: 1 + math.log(max(score, 1e-30)) / scale
    if kind in ("FaissVectorStore", "FaissMapVectorStore"):
        is_l2 = store._faiss_index.metric_type == 1
        return (lambda score: 1 - score / 2) if is_l2 else (lambda score: score)
    if kind == "SimpleVectorStore":
        return lambda score: score
    return None


def _chroma_space(collection: Any) -> str:
    configured = (getattr(collection, "configuration_json", None) or {}).get("hnsw") or {}
    named = (collection.metadata or {}).get("hnsw:space")
    return str(configured.get("space") or named or "l2")


def with_cosines(nodes: list[NodeWithScore], store: Any) -> list[NodeWithScore]:
    """The nodes, best first, with cosines for scores where they are known."""
    to_cosine = cosine_of(store)
    if to_cosine is None:
        return nodes
    scored = [
        node if node.score is None else NodeWithScore(node=node.node, score=to_cosine(node.score))
        for node in nodes
    ]
    return sorted(scored, key=lambda node: -(node.score or 0.0))


def is_asynchronous(store: Any) -> bool:
    """Whether its search really leaves the event loop; the inherited one blocks it."""
    return type(store).aquery is not BasePydanticVectorStore.aquery


def require_same_embeddings(index: VectorStoreIndex, model: SharedModel) -> None:
    """Raises PassageIndexError for an index that other embeddings have filled."""
    theirs = getattr(index, "_embed_model", None)
    shared = getattr(theirs, "shared", None)
    if shared is None:
        raise PassageIndexError(
            f"The index embeds with {type(theirs).__name__}; expected OneGenEmbedding, the vectors "
            "of the model that writes; build or load the index with "
            "`embed_model=OneGenEmbedding(…)`"
        )
    if shared.fingerprint != model.fingerprint:
        raise PassageIndexError(
            f"The index embeds with model {shared.fingerprint[:12]}; expected "
            f"{model.fingerprint[:12]}, the model that writes; give both the same `model`"
        )


def require_dimension(index: VectorStoreIndex, expected: int) -> None:
    """Raises PassageIndexError for vectors of another length, or for none."""
    found = _dimension(index.vector_store)
    if found == 0:
        raise PassageIndexError(
            f"The index on {type(index.vector_store).__name__} is empty; expected passages; add "
            "documents first"
        )
    if found not in (None, expected):
        raise PassageIndexError(
            f"The vectors of {type(index.vector_store).__name__} have {found} numbers; expected "
            f"{expected}, as this model makes them; fill it with OneGenEmbedding"
        )


def _dimension(store: Any) -> int | None:
    """Length of the vectors of a store, 0 of an empty one, None where it does not tell."""
    kind = type(store).__name__
    if kind == "ChromaVectorStore":
        some = store._collection.get(limit=1, include=["embeddings"])["embeddings"]
        return len(some[0]) if len(some) else 0
    if kind in ("FaissVectorStore", "FaissMapVectorStore"):
        return int(store._faiss_index.d) if store._faiss_index.ntotal else 0
    if kind == "SimpleVectorStore":
        vectors = store.data.embedding_dict
        return len(next(iter(vectors.values()))) if vectors else 0
    return None
