"""A query engine that retrieves inside its answer."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, Unpack

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from onegen_integrations.llama_index.answering import Answering, AnsweringOptions
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.retrievers import OneGenRetriever
from onegen_integrations.llama_index.searching import NodeRetriever


class OneGenQueryEngine(BaseQueryEngine):
    """One chat of the model per query; the vectors it makes while it writes search the index.

    `source_nodes` are in the order in which they entered the context; `metadata` holds the hops
    (query and node ids), the steps, and the usage. While an answer streams, both fill.
    """

    def __init__(
        self,
        answering: Answering,
        *,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager or Settings.callback_manager)
        self._answering = answering
        self._streaming = streaming

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex,
        llm: OneGenLLM | None = None,
        *,
        streaming: bool = False,
        **options: Unpack[AnsweringOptions],
    ) -> "OneGenQueryEngine":
        """Raises PassageIndexError for an index of other embeddings, or an empty one."""
        return cls(Answering.over(index, llm, options), streaming=streaming)

    @classmethod
    def from_retriever(
        cls,
        retriever: BaseRetriever,
        llm: OneGenLLM | None = None,
        *,
        streaming: bool = False,
        **options: Unpack[AnsweringOptions],
    ) -> "OneGenQueryEngine":
        """Any retriever: it is asked with the text before the query token, and with the vector.

        What it finds is taken, but for nodes that the context holds already; only an index can be
        asked for others in their place.
        """
        return cls(Answering.over(retriever, llm, options), streaming=streaming)

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Every node that the model looks up for a question."""
        return OneGenRetriever(self._answering).retrieve(query_bundle)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await OneGenRetriever(self._answering).aretrieve(query_bundle)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=asked) as event:
            retriever = self._answering.retriever()
            chat = self._answering.llm.stream_chat if self._streaming else self._answering.llm.chat
            messages = self._answering.messages(query_bundle.query_str)
            told = chat(messages, **self._answering.arguments(retriever))
            response: RESPONSE_TYPE
            if isinstance(told, ChatResponse):
                response = Response(_text(told), retriever.nodes, _metadata(told, retriever))
            else:
                metadata: dict[str, Any] = {}
                texts = _stream(told, retriever, metadata)
                response = StreamingResponse(texts, retriever.nodes, metadata)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=asked) as event:
            retriever, llm = self._answering.retriever(), self._answering.llm
            messages = self._answering.messages(query_bundle.query_str)
            arguments = self._answering.arguments(retriever)
            response: RESPONSE_TYPE
            if self._streaming:
                metadata: dict[str, Any] = {}
                texts = _astream(await llm.astream_chat(messages, **arguments), retriever, metadata)
                response = AsyncStreamingResponse(texts, retriever.nodes, metadata)
            else:
                told = await llm.achat(messages, **arguments)
                response = Response(_text(told), retriever.nodes, _metadata(told, retriever))
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def _text(told: ChatResponse) -> str:
    return told.message.content or ""


def _metadata(told: ChatResponse, retriever: NodeRetriever) -> dict[str, Any]:
    steps = told.message.additional_kwargs["steps"]
    return {"hops": retriever.hops, "steps": steps, "usage": told.raw}


def _stream(
    told: Any, retriever: NodeRetriever, metadata: dict[str, Any]
) -> Generator[str, None, None]:
    for response in told:
        if response.delta:
            yield response.delta
    metadata.update(_metadata(response, retriever))


async def _astream(
    told: Any, retriever: NodeRetriever, metadata: dict[str, Any]
) -> AsyncGenerator[str, None]:
    async for response in told:
        if response.delta:
            yield response.delta
    metadata.update(_metadata(response, retriever))
