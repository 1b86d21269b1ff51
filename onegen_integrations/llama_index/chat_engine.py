"""A conversation that retrieves inside its answers; each turn reads only what is new."""

import asyncio
from threading import Thread
from typing import Unpack

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine.types import (
    AgentChatResponse,
    BaseChatEngine,
    StreamingAgentChatResponse,
)
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer
from llama_index.core.tools import ToolOutput

from onegen_integrations.llama_index.answering import Answering, AnsweringOptions
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.searching import NodeRetriever


class OneGenChatEngine(BaseChatEngine):
    """Earlier turns come back with the passages they had and the tokens they were written in.

    Where the memory drops or changes a turn, the rest is read anew.
    """

    def __init__(
        self,
        answering: Answering,
        memory: BaseMemory,
        *,
        system_prompt: str | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._answering = answering
        self._memory = memory
        self._prefix = [ChatMessage(system_prompt, role="system")] if system_prompt else []
        self.callback_manager = callback_manager or Settings.callback_manager

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex,
        llm: OneGenLLM | None = None,
        *,
        memory: BaseMemory | None = None,
        system_prompt: str | None = None,
        **options: Unpack[AnsweringOptions],
    ) -> "OneGenChatEngine":
        """Without a `memory` of your own: as many turns as the context holds."""
        answering = Answering.over(index, llm, options)
        return cls(answering, memory or _default_memory(answering.llm), system_prompt=system_prompt)

    @property
    def chat_history(self) -> list[ChatMessage]:
        return self._memory.get_all()

    def reset(self) -> None:
        """Forget the conversation."""
        self._memory.reset()

    @trace_method("chat")
    def chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        messages, retriever = self._begin(message, chat_history)
        told = self._answering.llm.chat(messages, **self._answering.arguments(retriever))
        self._memory.put(told.message)
        return _to_response(told, retriever)

    @trace_method("chat")
    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        messages, retriever = await asyncio.to_thread(self._begin, message, chat_history)
        told = await self._answering.llm.achat(messages, **self._answering.arguments(retriever))
        await self._memory.aput(told.message)
        return _to_response(told, retriever)

    @trace_method("chat")
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retriever = self._begin(message, chat_history)
        told = self._answering.llm.stream_chat(messages, **self._answering.arguments(retriever))
        response = StreamingAgentChatResponse(chat_stream=told, source_nodes=retriever.nodes)
        thread = Thread(target=response.write_response_to_history, args=(self._memory,))
        response.write_response_to_history_thread = thread
        thread.start()
        return response

    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retriever = await asyncio.to_thread(self._begin, message, chat_history)
        arguments = self._answering.arguments(retriever)
        told = await self._answering.llm.astream_chat(messages, **arguments)
        response = StreamingAgentChatResponse(achat_stream=told, source_nodes=retriever.nodes)
        writing = response.awrite_response_to_history(self._memory)
        response.awrite_response_to_history_task = asyncio.create_task(writing)
        return response

    def _begin(
        self, message: str, chat_history: list[ChatMessage] | None
    ) -> tuple[list[ChatMessage], NodeRetriever]:
        if chat_history is not None:
            self._memory.set(chat_history)
        self._memory.put(ChatMessage(message))
        return [*self._prefix, *self._memory.get()], self._answering.retriever()


def _default_memory(llm: OneGenLLM) -> BaseMemory:
    """Counts as the model does, and leaves room for the answer."""
    metadata = llm.metadata
    return ChatMemoryBuffer.from_defaults(
        token_limit=max(1, metadata.context_window - metadata.num_output),
        tokenizer_fn=llm.shared.model.renderer.text_ids,
    )


def _to_response(told: ChatResponse, retriever: NodeRetriever) -> AgentChatResponse:
    sources = [
        ToolOutput(
            content=", ".join(hop["node_ids"]),
            tool_name="onegen_retrieve",
            raw_input={"query": hop["query"]},
            raw_output=hop,
            is_error="error" in hop,
        )
        for hop in retriever.hops
    ]
    steps = told.message.additional_kwargs["steps"]
    return AgentChatResponse(
        response=told.message.content or "",
        sources=sources,
        source_nodes=retriever.nodes,
        metadata={"hops": retriever.hops, "steps": steps, "usage": told.raw},
    )
