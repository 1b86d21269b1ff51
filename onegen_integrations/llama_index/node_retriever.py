"""The search of LlamaIndex's indexes and retrievers as one retriever of the core."""

import asyncio
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic_core import SchemaSerializer, core_schema

from onegen_integrations.llama_index.neighbours import fetch_neighbours
from onegen_integrations.llama_index.passage_parser import to_passage
from onegen_integrations.llama_index.source_nodes import NodeHit, source_node
from onegen_integrations.llama_index.vector_stores import (
    cosine_of,
    is_asynchronous,
    require_applied,
    require_own_vectors,
    with_cosines,
)
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.search_adapter import RequestScope, SearchAdapter
from onegen_integrations.shared.stores import ToCosine
from onegen_integrations.shared.usable_passages import usable_passages
from onegen_model import Passage, PassagesInserted, Query, RetrievalRequested, ScoredPassage
from onegen_model.errors import InvalidInputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeSource:
    """An index or a retriever, with the postprocessors behind it.

    `options` are those of `index.as_retriever`, filters among them.
    """

    searched: VectorStoreIndex | BaseRetriever
    model: SharedModel
    postprocessors: tuple[BaseNodePostprocessor, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def require_searchable(self) -> None:
        """Raises InvalidInputError or PassageIndexError for a source without the right vectors."""
        if isinstance(self.searched, VectorIndexRetriever):
            require_own_vectors(self.searched._index, self.model)
        elif not isinstance(self.searched, BaseRetriever):
            if not isinstance(self.searched, VectorStoreIndex):
                raise InvalidInputError(
                    f"{type(self.searched).__name__} cannot be searched by vector; expected a "
                    "VectorStoreIndex; build one, or pass a retriever"
                )
            require_applied(self.searched.vector_store, self.options)
            require_own_vectors(self.searched, self.model)

    def require_known_scores(self, least: float) -> None:
        """Raises InvalidInputError for a store whose scores may be anything, distances too."""
        if not self.has_known_scores:
            mode = str(getattr(self._mode, "value", self._mode or "default"))
            raise InvalidInputError(
                f"min_score={least} for {type(self.store).__name__} ({mode}), "
                "whose scores are not known as cosines; expected ChromaVectorStore, "
                "FaissVectorStore or SimpleVectorStore in the mode 'default'; leave min_score out, "
                "or use a node postprocessor"
            )

    @property
    def has_known_scores(self) -> bool:
        """Whether scores are cosines, or a retriever's own."""
        return self.store is None or self._to_cosine is not None

    @property
    def _mode(self) -> str | None:
        if isinstance(self.searched, VectorIndexRetriever):
            mode: str = self.searched._vector_store_query_mode
            return mode
        return self.options.get("vector_store_query_mode")

    @property
    def _to_cosine(self) -> ToCosine | None:
        return None if self.store is None else cosine_of(self.store, self._mode)

    def __reduce__(self) -> tuple[Any, ...]:
        _require_picklable(self.searched)
        return NodeSource, (self.searched, self.model, self.postprocessors, self.options)

    @property
    def store(self) -> Any:
        """The vector store that is searched; None behind any other retriever."""
        if isinstance(self.searched, VectorIndexRetriever):
            return self.searched._vector_store
        return getattr(self.searched, "vector_store", None)

    @property
    def blocks(self) -> bool:
        """Whether its own asynchronous search would block the event loop."""
        if self.store is not None:
            return not is_asynchronous(self.store)
        kind: Any = type(self.searched)
        return bool(kind._aretrieve is BaseRetriever._aretrieve)

    def retriever(self, count: int) -> BaseRetriever:
        """One that finds `count` nodes, unless it has its own settings."""
        if isinstance(self.searched, BaseRetriever):
            return self.searched
        retriever: BaseRetriever = self.searched.as_retriever(
            similarity_top_k=count, **self.options
        )
        return retriever

    def select(self, found: Sequence[NodeWithScore], query: Query) -> list[NodeWithScore]:
        """Nodes that the context does not hold yet, with cosines where they are known."""
        nodes = with_cosines(found, self._to_cosine)
        return [one for one in nodes if one.node.node_id not in query.exclude][: query.top_k]


# LlamaIndex's events hold the arguments of a call, and handlers write events as JSON.
_AS_TEXT = SchemaSerializer(
    core_schema.any_schema(serialization=core_schema.to_string_ser_schema())
)


class NodeRetriever(SearchAdapter):
    """Searches a `NodeSource` for all requests of an engine."""

    __pydantic_serializer__: ClassVar[SchemaSerializer] = _AS_TEXT

    def __init__(self, source: NodeSource) -> None:
        self.source = source

    def search(self, query: Query) -> list[ScoredPassage]:
        bundle, retriever = self._ask(query)
        nodes = self.source.select(retriever.retrieve(bundle), query)
        for postprocessor in self.source.postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=bundle)
        return self._to_hits(nodes, query)

    async def asearch(self, query: Query) -> list[ScoredPassage]:
        if self.source.blocks:
            return await asyncio.to_thread(self.search, query)
        bundle, retriever = self._ask(query)
        nodes = self.source.select(await retriever.aretrieve(bundle), query)
        for postprocessor in self.source.postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=bundle)
        return self._to_hits(nodes, query)

    def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
        scope = query.filter if isinstance(query.filter, RequestScope) else RequestScope()
        fetch = partial(fetch_neighbours, self.source.searched, self.source.options)
        try:
            return scope.context.run(fetch, passage, window)
        except Exception as error:
            if not scope.skips_errors:
                raise
            logger.warning("%r is inserted without neighbours: %s", passage.id, error)
            return [passage]

    def _ask(self, query: Query) -> tuple[QueryBundle, BaseRetriever]:
        bundle = QueryBundle(query_str=query.text, embedding=list(query.embedding))
        return bundle, self.source.retriever(query.top_k + len(query.exclude))

    def _to_hits(self, nodes: Sequence[NodeWithScore], query: Query) -> list[ScoredPassage]:
        hits = [_to_hit(one) for one in nodes]
        if query.exclude and not any(hit.passage.text.strip() for hit in hits):
            return []  # Hits with text may be in the context already.
        return usable_passages(hits)


class RetrievedNodes(RequestScope):
    """The retrievals of one request. `nodes` and `hops` fill while its events are read.

    They hold the inserted passages, which may be fewer than were found.
    """

    __pydantic_serializer__: ClassVar[SchemaSerializer] = _AS_TEXT

    def __init__(self, *, skips_errors: bool = False) -> None:
        super().__init__(skips_errors=skips_errors)
        self.nodes: list[NodeWithScore] = []
        self.hops: list[dict[str, Any]] = []

    def add(self, event: RetrievalRequested | PassagesInserted) -> None:
        """Adds the retrieval that an event of the request reports."""
        if isinstance(event, RetrievalRequested):
            self.hops.append({"query": event.text, "node_ids": []})
            return
        if event.reason:
            self.hops[-1]["reason"] = event.reason
        if error := self.errors[len(self.hops) - 1]:
            self.hops[-1]["error"] = error
        nodes = [source_node(one) for one in event.passages if isinstance(one, NodeHit)]
        self.hops[-1]["node_ids"] += [one.node.node_id for one in nodes]
        self.nodes += nodes

    def clear(self) -> None:
        """Clear the retrievals, for a second attempt."""
        self.errors.clear()
        self.hops.clear()
        self.nodes.clear()


def _to_hit(found: NodeWithScore) -> NodeHit:
    passage = to_passage(found.node)
    if not found.node.get_content(MetadataMode.NONE).strip():
        passage = replace(passage, text="")  # Its metadata alone say nothing.
    return NodeHit(passage, found.score or 0.0, found)


def _require_picklable(searched: VectorStoreIndex | BaseRetriever) -> None:
    """LlamaIndex drops the parts of a store that cannot be pickled, its client above all."""
    store = getattr(searched, "vector_store", None) or getattr(searched, "_vector_store", None)
    try:
        lost = _dropped_attributes(store)
        pickle.dumps(searched)
    except InvalidInputError:
        raise
    except Exception as error:
        lost = f"{type(error).__name__}: {error}"
    if lost:
        raise InvalidInputError(
            f"{type(store or searched).__name__} cannot be pickled ({lost}); expected a store that "
            "can; pass its name or path instead, and make the engine where it is used"
        )


def _dropped_attributes(store: Any) -> str:
    """Names of the attributes that the pickle of a component would lack, with commas."""
    private = getattr(store, "__pydantic_private__", None) or {}
    if not private:
        return ""
    kept = store.__getstate__().get("__pydantic_private__") or {}
    return ", ".join(sorted(private.keys() - kept.keys()))
