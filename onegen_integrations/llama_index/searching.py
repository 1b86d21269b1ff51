"""What is retrieved during one turn: asked by the core, answered by a retriever of LlamaIndex."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from onegen_integrations.llama_index.passages import to_passage
from onegen_integrations.llama_index.vector_stores import (
    is_asynchronous,
    require_dimension,
    require_same_embeddings,
    with_cosines,
)
from onegen_integrations.shared import SharedModel
from onegen_model import Query, ScoredPassage
from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class NodeSource:
    """Where nodes come from: `retriever(top_k)` finds as many; `store` tells what scores mean."""

    retriever: Callable[[int], BaseRetriever]
    top_k: int
    postprocessors: Sequence[BaseNodePostprocessor] = ()
    store: Any = None

    @classmethod
    def of_index(
        cls,
        index: VectorStoreIndex,
        model: SharedModel,
        top_k: int,
        postprocessors: Sequence[BaseNodePostprocessor] = (),
        **options: Any,
    ) -> "NodeSource":
        """Searches `index` by vector; raises PassageIndexError where that cannot be right.

        `options` are those of `index.as_retriever`, filters among them.
        """
        if not isinstance(index, VectorStoreIndex):
            raise InvalidInputError(
                f"{type(index).__name__} cannot be searched by vector; expected a "
                "VectorStoreIndex; build one, or pass a retriever"
            )
        require_same_embeddings(index, model)
        require_dimension(index, model.model.dimension)

        def retriever(count: int) -> BaseRetriever:
            return index.as_retriever(similarity_top_k=count, **options)

        return cls(retriever, top_k, tuple(postprocessors), index.vector_store)

    @classmethod
    def of_retriever(
        cls,
        retriever: BaseRetriever,
        top_k: int,
        postprocessors: Sequence[BaseNodePostprocessor] = (),
    ) -> "NodeSource":
        """Asks any retriever, with text and vector; its own settings say how much it finds."""
        return cls(lambda _: retriever, top_k, tuple(postprocessors))

    @property
    def blocks(self) -> bool:
        """Whether its own asynchronous search would hold up the event loop."""
        return self.store is not None and not is_asynchronous(self.store)


@dataclass(slots=True)
class NodeRetriever:
    """Both retrievers of the core, for one request; `nodes` fill, hop by hop, while it runs."""

    source: NodeSource
    skips_errors: bool = False
    nodes: list[NodeWithScore] = field(default_factory=list)
    hops: list[dict[str, Any]] = field(default_factory=list)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        return [self._retrieve(query) for query in queries]

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if self.source.blocks:
            return await asyncio.to_thread(self.retrieve, queries)
        return [await self._aretrieve(query) for query in queries]

    def _retrieve(self, query: Query) -> list[ScoredPassage]:
        bundle, retriever = self._ask(query)
        try:
            nodes = self._select(retriever.retrieve(bundle), query)
            for postprocessor in self.source.postprocessors:
                nodes = postprocessor.postprocess_nodes(nodes, query_bundle=bundle)
        except Exception as error:
            return self._fail(query, error)
        return self._accept(query, nodes)

    async def _aretrieve(self, query: Query) -> list[ScoredPassage]:
        bundle, retriever = self._ask(query)
        try:
            nodes = self._select(await retriever.aretrieve(bundle), query)
            for postprocessor in self.source.postprocessors:
                nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=bundle)
        except Exception as error:
            return self._fail(query, error)
        return self._accept(query, nodes)

    def _ask(self, query: Query) -> tuple[QueryBundle, BaseRetriever]:
        bundle = QueryBundle(query_str=query.text, embedding=list(query.embedding))
        return bundle, self.source.retriever(query.top_k + len(query.exclude))

    def _select(self, found: Sequence[NodeWithScore], query: Query) -> list[NodeWithScore]:
        nodes = with_cosines(list(found), self.source.store)
        return [one for one in nodes if one.node.node_id not in query.exclude][: query.top_k]

    def _accept(self, query: Query, nodes: Sequence[NodeWithScore]) -> list[ScoredPassage]:
        self.hops.append({"query": query.text, "node_ids": [one.node.node_id for one in nodes]})
        self.nodes += nodes
        return [ScoredPassage(to_passage(one.node), one.score or 0.0) for one in nodes]

    def _fail(self, query: Query, error: Exception) -> list[ScoredPassage]:
        if not self.skips_errors:
            raise error
        told = f"{type(error).__name__}: {error}"
        self.hops.append({"query": query.text, "node_ids": [], "error": told})
        return []
