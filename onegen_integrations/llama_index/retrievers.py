"""Multi-hop retrieval for LlamaIndex."""

from contextlib import aclosing, closing
from typing import Unpack

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from onegen_integrations.llama_index.answering import Answering, AnsweringOptions
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.searching import NodeRetriever
from onegen_model import Options, SamplingParams


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

    def _options(self) -> tuple[NodeRetriever, Options]:
        retriever, llm = self._answering.retriever(), self._answering.llm
        stop = (llm.shared.model.template.answer_start,)
        sampling = SamplingParams(max_new_tokens=llm.max_tokens, stop=stop)
        return retriever, {
            "retriever": retriever,
            "sampling": sampling,
            "retrieval": self._answering.retrieval,
        }

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retriever, options = self._options()
        model = self._answering.llm.shared.model
        with closing(model.stream(query_bundle.query_str, **options)) as stream:
            for _ in stream:
                pass
        return retriever.nodes

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retriever, options = self._options()
        model = self._answering.llm.shared.model
        async with aclosing(model.astream(query_bundle.query_str, **options)) as stream:
            async for _ in stream:
                pass
        return retriever.nodes
