"""One search over any vector store or retriever of LangChain, by the model's query embedding.

A vector store is asked by the first of these that it offers: its vector search with scores, its
vector search, its text search with a handle of OneGenEmbeddings. A retriever that is more than a
vector store is asked with the text before the query token.

The meaning of a score depends on store and metric. Here it is the cosine of unit vectors, or None
if that is unknown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from onegen_integrations.langchain.embeddings import OneGenEmbeddings, passage_id
from onegen_integrations.langchain.filters import (
    FilterAdapter,
    for_chroma,
    for_faiss,
    for_memory,
)
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.stores import (
    FAISS_METRICS,
    ToCosine,
    chroma_cosine,
    require_same_model,
)
from onegen_model import Query
from onegen_model.errors import InvalidInputError, PassageIndexError

Hit: TypeAlias = tuple[Document, float | None]
_AskedBy: TypeAlias = Literal["vector", "handle", "text"]

_SCORED = (
    "similarity_search_with_score_by_vector",
    "similarity_search_by_vector_with_relevance_scores",
    "similarity_search_by_vector_with_score",
)
_MMR = "max_marginal_relevance_search"
_MMR_CANDIDATES = 20  # LangChain's own default


def open_search(
    source: VectorStore | BaseRetriever,
    *,
    model: SharedModel | None = None,
    k: int | None = None,
    score_threshold: float | None = None,
    search_kwargs: Mapping[str, Any] | None = None,
) -> "Search":
    """One search over `source`; raises InvalidInputError if it cannot be searched.

    `search_kwargs` are passed to the store and take precedence over those of a
    VectorStoreRetriever, with two exceptions: `score_threshold` is the least cosine, and `k` is
    `Search.k` alone, because each query has its own `top_k`. A query's filter replaces theirs; it
    is one of the core, or in the store's own language. With `model`, a store of another checkpoint
    is refused.
    """
    options, search_type = dict(search_kwargs or {}), "similarity"
    if type(source) is VectorStoreRetriever:  # Subclasses may do more than their store.
        options = {**source.search_kwargs, **options}
        search_type, source = source.search_type, source.vectorstore
    if not isinstance(source, VectorStore | BaseRetriever):
        raise InvalidInputError(
            f"{_name(source)} cannot be searched; expected a VectorStore or a BaseRetriever of "
            "langchain_core; wrap it in a retriever"
        )
    own_k, own_threshold = (options.pop(name, None) for name in ("k", "score_threshold"))
    least = own_threshold if score_threshold is None else score_threshold
    method, asked_by = _find_way(source, search_type)
    if asked_by == "text" and options:
        raise InvalidInputError(
            f"search_kwargs {sorted(options)} for {_name(source)}, which is searched by text; "
            "expected a vector store; configure the retriever itself"
        )
    search = Search(source, method, asked_by, options, model, own_k if k is None else k, least)
    if least is not None and search.to_cosine is None:
        raise InvalidInputError(
            f"min_score={least} for {_name(source)} ({search_type}), whose scores are not known as "
            "cosines; expected Chroma, FAISS or InMemoryVectorStore, without mmr; leave min_score "
            "(or score_threshold) out"
        )
    return search


def _find_way(source: VectorStore | BaseRetriever, search_type: str) -> tuple[str, _AskedBy]:
    if isinstance(source, BaseRetriever):
        return "invoke", "text"
    by_text = _MMR if search_type == "mmr" else "similarity_search"
    by_vector = f"{by_text}_by_vector"
    for method in (by_vector,) if search_type == "mmr" else (*_SCORED, by_vector):
        if _offers(source, method):
            return method, "vector"
    if isinstance(source.embeddings, OneGenEmbeddings) and _offers(source, by_text):
        return by_text, "handle"
    raise InvalidInputError(
        f"{_name(source)} has no {search_type} search by vector; expected {by_vector}, or "
        "OneGenEmbeddings as its embeddings; build the store with those, or pass a retriever that "
        "searches by text"
    )


def _offers(store: VectorStore, method: str) -> bool:
    """Whether its class has the method or its async twin, other than the base's refusal."""
    return any(
        getattr(type(store), name, None) not in (None, getattr(VectorStore, name, None))
        for name in (method, f"a{method}")
    )


@dataclass(slots=True, eq=False)
class Search:
    """A search made by `open_search`. Errors of the source are not converted."""

    source: VectorStore | BaseRetriever
    method: str
    asked_by: _AskedBy
    options: Mapping[str, Any]
    model: SharedModel | None = None
    k: int | None = None
    score_threshold: float | None = None
    _checked: bool = field(default=False, init=False)

    @property
    def to_cosine(self) -> ToCosine | None:
        """Converts a score of the source to a cosine; None if the conversion is unknown."""
        known = _known(self.source) if self.method in _SCORED else None
        return known.to_cosine(self.source) if known else None

    def search(self, query: Query, config: RunnableConfig | None = None) -> list[Hit]:
        """At most `query.top_k` documents, best first; `config` is for a retriever's callbacks."""
        self._check(query)
        method = getattr(self.source, self.method)
        with self._key(query) as key:
            return self._select(method(key, **self._arguments(query, config)), query)

    async def asearch(self, query: Query, config: RunnableConfig | None = None) -> list[Hit]:
        """Like `search`, without blocking the event loop."""
        await run_in_executor(None, self._check, query)
        twin = getattr(self.source, f"a{self.method}", None)
        with self._key(query) as key:
            arguments = self._arguments(query, config)
            if twin:
                return self._select(await twin(key, **arguments), query)
            method = partial(getattr(self.source, self.method), key, **arguments)
            return self._select(await run_in_executor(None, method), query)

    @contextmanager
    def _key(self, query: Query) -> Iterator[str | list[float]]:
        embeddings = _embeddings(self.source)
        if self.asked_by == "handle" and embeddings:
            with embeddings.handle(query.embedding) as handle:
                yield handle
        else:
            yield query.text if self.asked_by == "text" else list(query.embedding)

    def _arguments(self, query: Query, config: RunnableConfig | None) -> dict[str, Any]:
        if self.asked_by == "text":
            return {"config": config}
        arguments = {**self.options, "k": query.top_k + len(query.exclude)}
        if query.filter:
            arguments["filter"] = query.filter
        if (known := _known(self.source)) and arguments.get("filter"):
            arguments["filter"] = known.adapt_filter(arguments["filter"])
            known.prepare_filtered(self.source, arguments)
        if self.method.startswith(_MMR):
            candidates = arguments.get("fetch_k", _MMR_CANDIDATES)
            arguments["fetch_k"] = max(candidates, arguments["k"])
        return arguments

    def _select(self, found: Sequence[Any], query: Query) -> list[Hit]:
        to_cosine = self.to_cosine
        hits: list[Hit] = []
        for item in found:
            document, raw = (item, 0.0) if isinstance(item, Document) else item
            score = to_cosine(float(raw)) if to_cosine else None
            near = score is None or self.score_threshold is None or score >= self.score_threshold
            if near and passage_id(document) not in query.exclude:
                hits.append((document, score))
        return hits[: query.top_k]

    def _check(self, query: Query) -> None:
        """Raises an error for a store that is empty or of another model, until it passes once."""
        if self.asked_by == "text" and query.filter:
            raise InvalidInputError(
                f"A filter for {_name(self.source)}, which is searched by text alone; expected a "
                "vector store; filter inside the retriever"
            )
        if not self._checked:
            self._require_own(len(query.embedding))

    def require_searchable(self) -> None:
        """Raise PassageIndexError for a store that is empty or of another model."""
        if self.model and not self._checked:
            self._require_own(self.model.model.dimension)

    def _require_own(self, dimension: int) -> None:
        self.require_own_embeddings(dimension)
        self._checked = True

    def require_own_embeddings(self, dimension: int | None = None) -> None:
        """Raise PassageIndexError for a store of another model, or of another `dimension`."""
        if self.asked_by == "text":
            return
        theirs = _embeddings(self.source)
        if self.model and theirs:
            require_same_model(self.model, theirs.shared, _name(self.source))
        if dimension and (known := _known(self.source)):
            _require_dimension(known.dimension(self.source), dimension, self.source)
        _require_ours(self.source)


def _name(source: object) -> str:
    return source.__name__ if isinstance(source, type) else type(source).__name__


def _embeddings(source: Any) -> OneGenEmbeddings | None:
    found = getattr(source, "embeddings", None)
    found = getattr(found, "underlying_embeddings", found)  # LangChain's cache of embeddings.
    return found if isinstance(found, OneGenEmbeddings) else None


def _require_ours(store: Any) -> None:
    """Refuses foreign embeddings, of equal length too; a store without embeddings passes."""
    theirs = getattr(store, "embeddings", None)
    if theirs is not None and _embeddings(store) is None:
        raise PassageIndexError(
            f"{_name(store)} embeds with {_name(theirs)}; expected OneGenEmbeddings, because the "
            "model searches with its own vectors; fill a new store with OneGenEmbeddings"
        )


def _require_dimension(found: int, expected: int, store: object) -> None:
    if not found:
        raise PassageIndexError(
            f"{_name(store)} is empty; expected documents in it; add some with OneGenEmbeddings"
        )
    if found != expected:
        raise PassageIndexError(
            f"{_name(store)} holds vectors of length {found}; expected {expected}, the length of "
            "the model's; fill a new store with OneGenEmbeddings of this model"
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Properties of a store; its dimension is 0 while it is empty."""

    to_cosine: Callable[[Any], ToCosine | None]
    dimension: Callable[[Any], int]
    adapt_filter: FilterAdapter
    prepare_filtered: Callable[[Any, dict[str, Any]], None] = lambda store, arguments: None


def _known(source: object) -> _Known | None:
    # By name: none of these packages needs to be installed.
    names = ((cls.__module__.partition(".")[0], cls.__name__) for cls in type(source).__mro__)
    return next((_STORES[name] for name in names if name in _STORES), None)


def _chroma_dimension(store: Any) -> int:
    rows = store._collection.get(limit=1, include=["embeddings"])["embeddings"]
    return len(rows[0]) if len(rows) else 0


def _fetch_all(store: Any, arguments: dict[str, Any]) -> None:
    # FAISS filters what it has fetched: fetching less than everything loses documents.
    arguments.setdefault("fetch_k", store.index.ntotal)


_STORES = {
    ("onegen_integrations", "OneGenVectorStore"): _Known(
        lambda store: float,
        lambda store: store.index.dimension if len(store.index) else 0,
        lambda wanted: wanted,
    ),
    ("langchain_chroma", "Chroma"): _Known(
        lambda store: chroma_cosine(store._collection), _chroma_dimension, for_chroma
    ),
    ("langchain_community", "FAISS"): _Known(
        lambda store: FAISS_METRICS.get(store.index.metric_type),
        lambda store: store.index.d if store.index.ntotal else 0,
        for_faiss,
        _fetch_all,
    ),
    ("langchain_core", "InMemoryVectorStore"): _Known(
        lambda store: float,
        lambda store: next((len(entry["vector"]) for entry in store.store.values()), 0),
        for_memory,
    ),
}
