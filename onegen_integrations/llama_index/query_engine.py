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
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from onegen_integrations.llama_index.engine_setup import EngineOptions, EngineSetup
from onegen_integrations.llama_index.input_checks import checks, require_query
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.node_retriever import RetrievedNodes
from onegen_integrations.llama_index.response_builder import outcome
from onegen_integrations.llama_index.retrievers import OneGenRetriever


class OneGenQueryEngine(BaseQueryEngine):
    """One chat of the model per query; its query embeddings search the index.

    `source_nodes` are in the order in which they entered the context; `metadata` holds the hops
    (query and node ids), the steps, the usage, and whether all was found (`found`, `reason`). While
    an answer streams, both fill.
    """

    def __init__(
        self,
        answering: EngineSetup,
        *,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager or Settings.callback_manager)
        self._setup = answering
        self._streaming = streaming

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex,
        llm: OneGenLLM | None = None,
        *,
        streaming: bool = False,
        **options: Unpack[EngineOptions],
    ) -> "OneGenQueryEngine":
        """Raises PassageIndexError for an index of other embeddings, or an empty one."""
        return cls(EngineSetup.over(index, llm, options), streaming=streaming)

    @classmethod
    def from_retriever(
        cls,
        retriever: BaseRetriever,
        llm: OneGenLLM | None = None,
        *,
        streaming: bool = False,
        **options: Unpack[EngineOptions],
    ) -> "OneGenQueryEngine":
        """Any retriever; it is asked with the text before the query token and with the vector.

        Nodes that the context holds already are left out; only an index is searched for others in
        their place.
        """
        return cls(EngineSetup.over(retriever, llm, options), streaming=streaming)

    @checks(require_query)
    def query(self, str_or_query_bundle: QueryType) -> RESPONSE_TYPE:
        return super().query(str_or_query_bundle)

    @checks(require_query)
    async def aquery(self, str_or_query_bundle: QueryType) -> RESPONSE_TYPE:
        return await super().aquery(str_or_query_bundle)

    def unload(self) -> None:
        """Frees the model, which is loaded again when it is next used."""
        self._setup.llm.unload()

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Every node that the model retrieves for a question."""
        return OneGenRetriever(self._setup).retrieve(query_bundle)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await OneGenRetriever(self._setup).aretrieve(query_bundle)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=asked) as event:
            retrieved = self._setup.begin()
            chat = self._setup.llm.stream_chat if self._streaming else self._setup.llm.chat
            messages = self._setup.messages(query_bundle.query_str)
            reply = chat(messages, **self._setup.arguments(retrieved))
            response: RESPONSE_TYPE
            if isinstance(reply, ChatResponse):
                response = Response(_text(reply), retrieved.nodes, _metadata(reply, retrieved))
            else:
                metadata: dict[str, Any] = {}
                texts = _stream(reply, retrieved, metadata)
                response = StreamingResponse(texts, retrieved.nodes, metadata)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        asked: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=asked) as event:
            retrieved, llm = self._setup.begin(), self._setup.llm
            messages = self._setup.messages(query_bundle.query_str)
            arguments = self._setup.arguments(retrieved, asynchronous=True)
            response: RESPONSE_TYPE
            if self._streaming:
                metadata: dict[str, Any] = {}
                texts = _astream(await llm.astream_chat(messages, **arguments), retrieved, metadata)
                response = AsyncStreamingResponse(texts, retrieved.nodes, metadata)
            else:
                reply = await llm.achat(messages, **arguments)
                response = Response(_text(reply), retrieved.nodes, _metadata(reply, retrieved))
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def _text(reply: ChatResponse) -> str:
    return reply.message.content or ""


def _metadata(reply: ChatResponse, retrieved: RetrievedNodes) -> dict[str, Any]:
    return {"hops": retrieved.hops, **outcome(reply), "usage": reply.raw}


def _stream(
    reply: Any, retrieved: RetrievedNodes, metadata: dict[str, Any]
) -> Generator[str, None, None]:
    for response in reply:
        if response.delta:
            yield response.delta
    metadata.update(_metadata(response, retrieved))


async def _astream(
    reply: Any, retrieved: RetrievedNodes, metadata: dict[str, Any]
) -> AsyncGenerator[str, None]:
    async for response in reply:
        if response.delta:
            yield response.delta
    metadata.update(_metadata(response, retrieved))
