"""Multi-hop retrieval for LlamaIndex."""

import asyncio
from typing import Any, Unpack

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from onegen_integrations.llama_index.answering import Answering, AnsweringOptions
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.searching import NodeRetriever


class OneGenRetriever(BaseRetriever):
    """Every node that the model looks up for a question, over as many hops as it takes.

    The model writes up to its answer and stops. A query without text is refused.
    """

    def __init__(
        self, answering: Answering, callback_manager: CallbackManager | None = None
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self._answering = answering

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex,
        llm: OneGenLLM | None = None,
        **options: Unpack[AnsweringOptions],
    ) -> "OneGenRetriever":
        """Raises PassageIndexError for an index of other embeddings, or an empty one."""
        return cls(Answering.over(index, llm, options))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retriever = self._answering.retriever()
        messages = self._answering.messages(query_bundle.query_str)
        self._answering.llm.chat(messages, **self._arguments(retriever))
        return retriever.nodes

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retriever = self._answering.retriever()
        messages = self._answering.messages(query_bundle.query_str)
        arguments = await asyncio.to_thread(self._arguments, retriever)
        await self._answering.llm.achat(messages, **arguments)
        return retriever.nodes

    def _arguments(self, retriever: NodeRetriever) -> dict[str, Any]:
        llm = self._answering.llm
        stop = [*llm.stop, llm.shared.model.template.answer_start]
        return {**self._answering.arguments(retriever), "stop": stop}
