"""A conversation that retrieves inside its answers; each turn reads only what is new."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from threading import Thread
from typing import Any, Unpack

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
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
from onegen_integrations.llama_index.messages import count_tokens
from onegen_integrations.llama_index.searching import NodeRetriever


class TranscriptMemory(ChatMemoryBuffer):
    """As many turns as fit, counted with the passages that were looked up in them."""

    @classmethod
    def class_name(cls) -> str:
        return "TranscriptMemory"

    def _token_count_for_messages(self, messages: list[ChatMessage]) -> int:
        return sum(count_tokens(one, lambda text: len(self.tokenizer_fn(text))) for one in messages)


class OneGenChatEngine(BaseChatEngine):
    """Earlier turns come back with the passages they had and the tokens they were written in.

    Where the memory drops or changes a turn, the rest is read anew. Of a streamed turn, `sources`
    (a hop each) are complete at its end.
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
        system_prompt = system_prompt or answering.llm.system_prompt
        self._prefix = [ChatMessage(system_prompt, role="system")] if system_prompt else []
        self.callback_manager = callback_manager or Settings.callback_manager

    @classmethod
    def from_index(
        cls,
        index: VectorStoreIndex | BaseRetriever,
        llm: OneGenLLM | None = None,
        *,
        memory: BaseMemory | None = None,
        system_prompt: str | None = None,
        **options: Unpack[AnsweringOptions],
    ) -> "OneGenChatEngine":
        """Without a `memory` of your own: as many turns as leave room for the next."""
        answering = Answering.over(index, llm, options)
        chosen = memory or _default_memory(answering, system_prompt or "")
        return cls(answering, chosen, system_prompt=system_prompt)

    @property
    def chat_history(self) -> list[ChatMessage]:
        history: list[ChatMessage] = self._memory.get_all()
        return history

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
        messages, retriever = await self._abegin(message, chat_history)
        told = await self._answering.llm.achat(messages, **self._answering.arguments(retriever))
        await self._memory.aput(told.message)
        return _to_response(told, retriever)

    @trace_method("chat")
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retriever = self._begin(message, chat_history)
        told = self._answering.llm.stream_chat(messages, **self._answering.arguments(retriever))
        sources: list[ToolOutput] = []
        response = StreamingAgentChatResponse(
            chat_stream=_fill(told, retriever, sources),
            sources=sources,
            source_nodes=retriever.nodes,
        )
        thread = Thread(target=response.write_response_to_history, args=(self._memory,))
        response.write_response_to_history_thread = thread
        thread.start()
        return response

    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retriever = await self._abegin(message, chat_history)
        arguments = self._answering.arguments(retriever)
        told = await self._answering.llm.astream_chat(messages, **arguments)
        sources: list[ToolOutput] = []
        response = StreamingAgentChatResponse(
            achat_stream=_afill(told, retriever, sources),
            sources=sources,
            source_nodes=retriever.nodes,
        )
        writing = response.awrite_response_to_history(self._memory)
        response.awrite_response_to_history_task = asyncio.create_task(writing)
        return response

    def _begin(
        self, message: str, chat_history: list[ChatMessage] | None
    ) -> tuple[list[ChatMessage], NodeRetriever]:
        if chat_history is not None:
            self._memory.set(chat_history)
        self._memory.put(ChatMessage(message))
        remembered = self._memory.get(input=message)
        return [*self._prefix, *remembered], self._answering.retriever()

    async def _abegin(
        self, message: str, chat_history: list[ChatMessage] | None
    ) -> tuple[list[ChatMessage], NodeRetriever]:
        if chat_history is not None:
            await self._memory.aset(chat_history)
        await self._memory.aput(ChatMessage(message))
        remembered = await self._memory.aget(input=message)
        return [*self._prefix, *remembered], self._answering.retriever()


def _default_memory(answering: Answering, system_prompt: str) -> BaseMemory:
    """Leaves room for the system's text, an answer, and the passages of one retrieval."""
    model, count = answering.llm.shared.model, answering.usual_count
    fixed = model.count_tokens(f"{model.template.system}\n\n{system_prompt}")
    room = model.max_context - fixed - answering.llm.max_tokens - count * model.max_passage_tokens
    return TranscriptMemory.from_defaults(
        token_limit=max(1, room), tokenizer_fn=model.renderer.text_ids
    )


def _fill(
    told: Any, retriever: NodeRetriever, sources: list[ToolOutput]
) -> Generator[ChatResponse, None, None]:
    yield from told
    sources += _to_sources(retriever)


async def _afill(
    told: Any, retriever: NodeRetriever, sources: list[ToolOutput]
) -> AsyncGenerator[ChatResponse, None]:
    async for response in told:
        yield response
    sources += _to_sources(retriever)


def _to_sources(retriever: NodeRetriever) -> list[ToolOutput]:
    return [
        ToolOutput(
            content=", ".join(hop["node_ids"]),
            tool_name="onegen_retrieve",
            raw_input={"query": hop["query"]},
            raw_output=hop,
            is_error="error" in hop,
        )
        for hop in retriever.hops
    ]


def _to_response(told: ChatResponse, retriever: NodeRetriever) -> AgentChatResponse:
    steps = told.message.additional_kwargs["steps"]
    return AgentChatResponse(
        response=told.message.content or "",
        sources=_to_sources(retriever),
        source_nodes=retriever.nodes,
        metadata={"hops": retriever.hops, "steps": steps, "usage": told.raw},
    )
