"""Multi-hop retrieval for LlamaIndex."""

import asyncio
from typing import Any, Unpack

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from onegen_integrations.llama_index.engine_setup import EngineOptions, EngineSetup
from onegen_integrations.llama_index.input_checks import checks, require_query
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.node_retriever import RetrievedNodes


class OneGenRetriever(BaseRetriever):
    """Every node that the model retrieves for a question, over as many hops as it takes.

    The model writes up to its answer and stops. A query without text is refused.
    """

    def __init__(
        self, answering: EngineSetup, callback_manager: CallbackManager | None = None
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self._setup = answering

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex,
        llm: OneGenLLM | None = None,
        **options: Unpack[EngineOptions],
    ) -> "OneGenRetriever":
        """Raises PassageIndexError for an index of other embeddings, or an empty one."""
        return cls(EngineSetup.over(index, llm, options))

    @checks(require_query)
    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        nodes: list[NodeWithScore] = super().retrieve(str_or_query_bundle)
        return nodes

    @checks(require_query)
    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        nodes: list[NodeWithScore] = await super().aretrieve(str_or_query_bundle)
        return nodes

    def unload(self) -> None:
        """Frees the model, which is loaded again when it is next used."""
        self._setup.llm.unload()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retrieved = self._setup.begin()
        messages = self._setup.messages(query_bundle.query_str)
        self._setup.llm.chat(messages, **self._arguments(retrieved))
        return retrieved.nodes

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retrieved = self._setup.begin()
        messages = self._setup.messages(query_bundle.query_str)
        # Reading the template loads the model.
        arguments = await asyncio.to_thread(self._arguments, retrieved, asynchronous=True)
        await self._setup.llm.achat(messages, **arguments)
        return retrieved.nodes

    def _arguments(
        self, retrieved: RetrievedNodes, *, asynchronous: bool = False
    ) -> dict[str, Any]:
        llm = self._setup.llm
        stop = [*llm.stop, llm.shared.model.template.answer_start]
        arguments = self._setup.arguments(retrieved, asynchronous=asynchronous)
        return {**arguments, "stop": stop}
