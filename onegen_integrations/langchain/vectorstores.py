"""From what LangChain users have to one search, asked with the vector that the model has made.

A vector store is asked by the first of these that it offers: its vector search with scores, its
vector search, its text search with a handle of OneGenEmbeddings. A retriever that is more than a
vector store is asked with the text that stands before the query token.

What stores call a score differs with store and metric. Here a score is the cosine of unit vectors,
or None where the store does not tell.
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
    """One search over `source`; raises InvalidInputError if it cannot be asked.

    `search_kwargs` go to the store as they are, over those of a VectorStoreRetriever. Two of them
    mean something here: `score_threshold` is the least cosine, and `k` is only remembered, as
    `Search.k`, because each query says how much it wants. A query's filter, in the store's own
    language, takes the place of theirs. `model` lets a store of another checkpoint be refused.
    """
    options, search_type = dict(search_kwargs or {}), "similarity"
    if type(source) is VectorStoreRetriever:  # those below it may be more than their store
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
            f"search_kwargs {sorted(options)} for {_name(source)}, which is asked with text alone; "
            "expected a vector store; configure the retriever itself"
        )
    search = Search(source, method, asked_by, options, model, own_k if k is None else k, least)
    if least is not None and search.to_cosine is None:
        raise InvalidInputError(
            f"score_threshold={least} for {_name(source)} ({search_type}), whose scores are not "
            "known as cosines; expected Chroma, FAISS or InMemoryVectorStore, without mmr; leave "
            "the threshold out"
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
    """Whether its class brings the method or the async twin, not just the base's refusal."""
    return any(
        getattr(type(store), name, None) not in (None, getattr(VectorStore, name, None))
        for name in (method, f"a{method}")
    )


@dataclass(slots=True, eq=False)
class Search:
    """Made by `open_search`. What the source raises comes through as it is."""

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
        """What makes a cosine of the source's score; None where that is not known."""
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
            known.adapt_filter(self.source, arguments)
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
        """A store that holds documents of this model is not examined again."""
        if self.asked_by == "text" and query.filter:
            raise InvalidInputError(
                f"A filter for {_name(self.source)}, which is asked with text alone; expected a "
                "vector store; filter inside the retriever"
            )
        if self._checked or self.asked_by == "text":
            return
        theirs = _embeddings(self.source)
        if self.model and theirs:
            require_same_model(self.model, theirs.shared, _name(self.source))
        if known := _known(self.source):
            _require_dimension(known.dimension(self.source), len(query.embedding), self.source)
        _require_ours(self.source)
        self._checked = True


def _name(source: object) -> str:
    return source.__name__ if isinstance(source, type) else type(source).__name__


def _embeddings(source: Any) -> OneGenEmbeddings | None:
    found = getattr(source, "embeddings", None)
    found = getattr(found, "underlying_embeddings", found)  # LangChain's cache of embeddings
    return found if isinstance(found, OneGenEmbeddings) else None


def _require_ours(store: Any) -> None:
    """Equal lengths mean nothing; a store that was given no embeddings is taken at its word."""
    theirs = getattr(store, "embeddings", None)
    if theirs is not None and _embeddings(store) is None:
        raise PassageIndexError(
            f"{_name(store)} embeds with {_name(theirs)}; expected OneGenEmbeddings, because the "
            "model asks with its own vectors; fill a new store with OneGenEmbeddings"
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
    """What is known of a store; its dimension is 0 while it is empty."""

    to_cosine: Callable[[Any], ToCosine | None]
    dimension: Callable[[Any], int]
    adapt_filter: Callable[[Any, dict[str, Any]], None] = lambda store, arguments: None


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


def _as_predicate(store: Any, arguments: dict[str, Any]) -> None:
    # This store has no language of filters: it gets that of a PassageIndex.
    if isinstance(wanted := arguments["filter"], Mapping):
        arguments["filter"] = partial(_matches, wanted)


def _matches(wanted: Mapping[str, Any], document: Document) -> bool:
    return all(
        document.metadata.get(name) in (value if isinstance(value, list | tuple) else (value,))
        for name, value in wanted.items()
    )


_STORES = {
    ("langchain_chroma", "Chroma"): _Known(
        lambda store: chroma_cosine(store._collection), _chroma_dimension
    ),
    ("langchain_community", "FAISS"): _Known(
        lambda store: FAISS_METRICS.get(store.index.metric_type),
        lambda store: store.index.d if store.index.ntotal else 0,
        _fetch_all,
    ),
    ("langchain_core", "InMemoryVectorStore"): _Known(
        lambda store: float,
        lambda store: next((len(entry["vector"]) for entry in store.store.values()), 0),
        _as_predicate,
    ),
}
