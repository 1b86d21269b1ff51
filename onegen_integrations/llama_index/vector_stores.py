"""Scores of LlamaIndex's stores as cosines, and checks of the stores."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    MetadataFilters,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import (
    legacy_metadata_dict_to_node,
    metadata_dict_to_node,
)

from onegen_integrations.llama_index.index_store import to_node
from onegen_integrations.llama_index.passage_parser import to_passage
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.stores import (
    FAISS_METRICS,
    ToCosine,
    chroma_cosine,
    require_same_model,
)
from onegen_model.errors import InvalidInputError, OneGenError, PassageIndexError

# Least cosine of a stored vector and the embedding of its text by the model that searches.
LEAST_COSINE = 0.9

_CHROMA_OPERATORS = ("==", "!=", ">", "<", ">=", "<=", "in", "nin")


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A vector of a store, with its node or with the index's key of the node.

    `vector` is empty where the store does not return its vectors.
    """

    dimension: int
    vector: Sequence[float] = ()
    node: BaseNode | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class StoreProfile:
    """A class of stores: its scores, a vector of it, and the options and modes it applies."""

    to_cosine: Callable[[Any], ToCosine | None]
    sample: Callable[[Any], StoredVector | None]
    options: tuple[str, ...] = ()
    refused: Callable[[MetadataFilters], str | None] = lambda _: None
    modes: tuple[str, ...] = ("default",)


def _chroma_cosine(store: Any) -> ToCosine | None:
    """Chroma's store returns `exp(-distance)`."""
    of_distance = chroma_cosine(store._collection)
    return of_distance and (lambda score: of_distance(-math.log(max(score, 1e-30))))


def _chroma_sample(store: Any) -> StoredVector | None:
    found = store._collection.get(limit=1, include=["embeddings", "metadatas", "documents"])
    if not found["ids"]:
        return None
    metadata, text = found["metadatas"][0], found["documents"][0] or ""
    node: BaseNode
    try:
        node = metadata_dict_to_node(metadata or {}, text=text)
    except ValueError:  # Filled without LlamaIndex, whose store reads it in this way.
        plain, _, _ = legacy_metadata_dict_to_node(metadata)
        node = TextNode(text=text, id_=found["ids"][0], metadata=plain)
    vector = [float(number) for number in found["embeddings"][0]]
    return StoredVector(len(vector), vector, node)


def _faiss_cosine(store: Any) -> ToCosine | None:
    return FAISS_METRICS.get(store._faiss_index.metric_type)


def _faiss_sample(store: Any) -> StoredVector | None:
    index, keys = store._faiss_index, getattr(store, "_faiss_id_to_node_id_map", {0: "0"})
    if not index.ntotal or not keys:
        return None
    at, key = next(iter(keys.items()))
    try:
        return StoredVector(index.d, index.reconstruct(at).tolist(), key=key)
    except RuntimeError:  # Not every kind of index returns its vectors.
        return StoredVector(index.d, key=key)


def _simple_sample(store: Any) -> StoredVector | None:
    vectors = store.data.embedding_dict
    return next((StoredVector(len(one), one, key=key) for key, one in vectors.items()), None)


def _refused_by_chroma(filters: MetadataFilters) -> str | None:
    if filters.condition not in (None, FilterCondition.AND, FilterCondition.OR):
        return f"condition {filters.condition.value!r}"
    for one in filters.filters:
        if isinstance(one, MetadataFilters):
            if odd := _refused_by_chroma(one):
                return odd
        elif one.operator and one.operator.value not in _CHROMA_OPERATORS:
            return f"operator {one.operator.value!r}"
    return None


def _refused_by_simple(filters: MetadataFilters) -> str | None:
    nested = any(isinstance(one, MetadataFilters) for one in filters.filters)
    return "filters inside of filters" if nested else None


def _own_sample(store: Any) -> StoredVector | None:
    for passages, rows in store.client.batches(1):
        vector = rows[0].tolist()
        return StoredVector(len(vector), vector, to_node(passages[0]))
    return None


_FAISS = StoreProfile(_faiss_cosine, _faiss_sample)
_PROFILES = {
    "ChromaVectorStore": StoreProfile(
        _chroma_cosine,
        _chroma_sample,
        ("filters", "vector_store_kwargs"),
        _refused_by_chroma,
        ("default", "mmr"),
    ),
    "FaissVectorStore": _FAISS,
    "FaissMapVectorStore": _FAISS,
    "OneGenVectorStore": StoreProfile(lambda _: float, _own_sample, ("filters",)),
    "SimpleVectorStore": StoreProfile(
        lambda _: lambda score: score,
        _simple_sample,
        ("filters", "node_ids", "vector_store_kwargs"),
        _refused_by_simple,
        ("default", "mmr", "svm", "linear_regression", "logistic_regression"),
    ),
}


def _profile(store: Any) -> StoreProfile | None:
    """The profile of a store's class or of one that it inherits from."""
    names = (kind.__name__ for kind in type(store).__mro__)
    return next((_PROFILES[name] for name in names if name in _PROFILES), None)


def cosine_of(store: Any, mode: str | None = None) -> ToCosine | None:
    """The function from a similarity of unit vectors to their cosine; None if not known."""
    profile = _profile(store)
    if profile is None or (mode or "default") != VectorStoreQueryMode.DEFAULT:
        return None
    return profile.to_cosine(store)


def with_cosines(
    nodes: Sequence[NodeWithScore], to_cosine: ToCosine | None
) -> Sequence[NodeWithScore]:
    """The nodes, best first, with cosines as scores where `to_cosine` is known."""
    if to_cosine is None:
        return nodes
    scored = [
        NodeWithScore(node=one.node, score=None if one.score is None else to_cosine(one.score))
        for one in nodes
    ]
    return sorted(scored, key=lambda one: -(one.score or 0.0))


def is_asynchronous(store: Any) -> bool:
    """Whether a store searches without blocking the event loop; the inherited method blocks."""
    return type(store).aquery is not BasePydanticVectorStore.aquery


def require_applied(store: Any, options: Mapping[str, Any]) -> None:
    """Raises InvalidInputError for options of a search that the store would ignore or refuse."""
    profile, name = _profile(store), type(store).__name__
    given = {key: value for key, value in options.items() if value is not None}
    mode, filters = given.pop("vector_store_query_mode", "default"), given.get("filters")
    modes = profile.modes if profile else tuple(one.value for one in VectorStoreQueryMode)
    if mode not in modes:
        raise InvalidInputError(
            f"vector_store_query_mode={str(getattr(mode, 'value', mode))!r} over {name}; expected "
            f"one of {', '.join(modes)}; change it, or use another store"
        )
    if filters is not None and not isinstance(filters, MetadataFilters):
        raise InvalidInputError(
            f"filters={filters!r}; expected MetadataFilters; write "
            "`MetadataFilters(filters=[MetadataFilter(key=…, value=…)])`"
        )
    if profile is None:
        return
    if ignored := sorted(given.keys() - set(profile.options)):
        applied = ", ".join(profile.options) or "the search by vector"
        raise InvalidInputError(
            f"{name} cannot apply {', '.join(ignored)}; expected only {applied}; leave them out, "
            "or use another store"
        )
    if filters is not None and (odd := profile.refused(filters)):
        raise InvalidInputError(
            f"{name} does not know {odd}; expected filters that it can apply; rewrite them, or "
            "use another store"
        )


def require_own_vectors(index: VectorStoreIndex, model: SharedModel) -> None:
    """Raises PassageIndexError for an empty index, and for one that another model has filled.

    One stored text is embedded again and compared with its vector.
    """
    _require_our_model(index, model)
    name = type(index.vector_store).__name__
    profile = _profile(index.vector_store)
    if profile is None:
        return
    sample = profile.sample(index.vector_store)
    if sample is None:
        raise PassageIndexError(
            f"The index on {name} is empty; expected passages; add documents first"
        )
    if sample.dimension != model.model.dimension:
        raise PassageIndexError(
            f"The vectors of {name} have {sample.dimension} numbers; expected "
            f"{model.model.dimension}, the dimension of this model; fill it with OneGenEmbedding"
        )
    node = sample.node or _stored_node(index, sample.key)
    if sample.vector:
        _require_same_vector(model, sample.vector, node)


def _require_our_model(index: VectorStoreIndex, model: SharedModel) -> None:
    theirs = getattr(index, "_embed_model", None)
    shared = getattr(theirs, "shared", None)
    if shared is None:
        raise PassageIndexError(
            f"The index embeds with {type(theirs).__name__}; expected OneGenEmbedding with the "
            "model that writes; build or load the index with "
            "`embed_model=OneGenEmbedding(…)`"
        )
    require_same_model(model, shared, "The index")


def _stored_node(index: VectorStoreIndex, key: str) -> BaseNode:
    node_id = index.index_struct.nodes_dict.get(key)
    node = index.docstore.get_document(node_id, raise_error=False) if node_id else None
    if node is None:
        raise PassageIndexError(
            f"{type(index.vector_store).__name__} has vectors, but the index has no texts for "
            "them; expected a docstore; persist the storage context, and load it with "
            "`load_index_from_storage`"
        )
    return node


def _require_same_vector(model: SharedModel, stored: Sequence[float], node: BaseNode) -> None:
    try:
        fitting = next(model.model.fragments(to_passage(node)))
        own = model.model.embed_passages([fitting])[0].tolist()
    except OneGenError:  # This model cannot have embedded the text.
        own = [0.0] * len(stored)
    cosine = sum(map(mul, own, stored)) / (math.hypot(*stored) or 1.0)
    if cosine < LEAST_COSINE:
        raise PassageIndexError(
            f"The stored vector of node {node.node_id} is not this model's embedding of its text "
            f"(cosine {cosine:.2f}); expected at least {LEAST_COSINE}; fill the store with the "
            "OneGenEmbedding of this model"
        )
