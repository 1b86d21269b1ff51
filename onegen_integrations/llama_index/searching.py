"""What is retrieved during one turn: asked by the core, answered by a retriever of LlamaIndex."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic_core import SchemaSerializer, core_schema

from onegen_integrations.llama_index.passages import to_passage
from onegen_integrations.llama_index.vector_stores import (
    cosine_of,
    is_asynchronous,
    require_applied,
    require_own_vectors,
    with_cosines,
)
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.stores import ToCosine
from onegen_model import PassagesInserted, Query, ScoredPassage
from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class NodeSource:
    """Where nodes come from: `retriever(count)` finds as many.

    `blocks`: its own asynchronous search would hold up the event loop.
    """

    retriever: Callable[[int], BaseRetriever]
    postprocessors: tuple[BaseNodePostprocessor, ...] = ()
    to_cosine: ToCosine | None = None
    blocks: bool = False

    @classmethod
    def of_index(
        cls,
        index: VectorStoreIndex,
        model: SharedModel,
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
        require_applied(index.vector_store, options)
        require_own_vectors(index, model)

        def retriever(count: int) -> BaseRetriever:
            return index.as_retriever(similarity_top_k=count, **options)

        return cls(
            retriever,
            tuple(postprocessors),
            cosine_of(index.vector_store, options.get("vector_store_query_mode")),
            not is_asynchronous(index.vector_store),
        )

    @classmethod
    def of_retriever(
        cls,
        retriever: BaseRetriever,
        model: SharedModel,
        postprocessors: Sequence[BaseNodePostprocessor] = (),
    ) -> "NodeSource":
        """Asks any retriever, with text and vector; its own settings say how much it finds."""
        blocks, to_cosine = type(retriever)._aretrieve is BaseRetriever._aretrieve, None
        if isinstance(retriever, VectorIndexRetriever):
            require_own_vectors(retriever._index, model)
            blocks = not is_asynchronous(retriever._vector_store)
            to_cosine = cosine_of(retriever._vector_store, retriever._vector_store_query_mode)
        return cls(lambda _: retriever, tuple(postprocessors), to_cosine, blocks)


@dataclass(slots=True)
class NodeRetriever:
    """Both retrievers of the core, for one request; `nodes` and `hops` fill while it runs.

    They tell what entered the context, which may be less than was found.
    """

    # An event of LlamaIndex holds what a call was given, and is written as JSON by some.
    __pydantic_serializer__: ClassVar[SchemaSerializer] = SchemaSerializer(
        core_schema.any_schema(serialization=core_schema.to_string_ser_schema())
    )

    source: NodeSource
    skips_errors: bool = False
    nodes: list[NodeWithScore] = field(default_factory=list)
    hops: list[dict[str, Any]] = field(default_factory=list)
    _found: dict[str, NodeWithScore] = field(default_factory=dict)

    def insert(self, event: PassagesInserted) -> None:
        """Some of what was found last now stands in the context."""
        ids = [one.passage.id for one in event.passages]
        self.hops[event.hop]["node_ids"] += ids
        self.nodes += [self._found[node_id] for node_id in ids]

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
        nodes = with_cosines(found, self.source.to_cosine)
        return [one for one in nodes if one.node.node_id not in query.exclude][: query.top_k]

    def _accept(self, query: Query, nodes: Sequence[NodeWithScore]) -> list[ScoredPassage]:
        self.hops.append({"query": query.text, "node_ids": []})
        self._found |= {one.node.node_id: one for one in reversed(nodes)}
        return [ScoredPassage(to_passage(one.node), one.score or 0.0) for one in nodes]

    def _fail(self, query: Query, error: Exception) -> list[ScoredPassage]:
        if not self.skips_errors:
            raise error
        told = f"{type(error).__name__}: {error}"
        self.hops.append({"query": query.text, "node_ids": [], "error": told})
        return []
