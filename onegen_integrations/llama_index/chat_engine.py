"""A chat engine that retrieves inside its answers; each turn reads only new tokens."""

import asyncio
import warnings
from collections.abc import AsyncGenerator, Generator
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
from llama_index.core.types import Thread

from onegen_integrations.llama_index.engine_setup import EngineOptions, EngineSetup
from onegen_integrations.llama_index.input_checks import (
    checks,
    require_message,
    require_messages,
)
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.messages import count_tokens
from onegen_integrations.llama_index.model_fields import ModelTokenizer
from onegen_integrations.llama_index.node_retriever import RetrievedNodes
from onegen_integrations.llama_index.response_builder import outcome


class TranscriptMemory(ChatMemoryBuffer):
    """Keeps as many turns as fit, counted with the passages that were inserted in them."""

    @classmethod
    def class_name(cls) -> str:
        return "TranscriptMemory"

    def _token_count_for_messages(self, messages: list[ChatMessage]) -> int:
        return sum(count_tokens(one, lambda text: len(self.tokenizer_fn(text))) for one in messages)


class OneGenChatEngine(BaseChatEngine):
    """A chat whose earlier turns are sent back with their passages, in their own tokens.

    If the memory has dropped or changed a turn, the history is read again from there. The `sources`
    of a streamed turn (one for each hop) are complete at its end.
    """

    def __init__(
        self,
        answering: EngineSetup,
        memory: BaseMemory,
        *,
        system_prompt: str | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self._setup = answering
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
        **options: Unpack[EngineOptions],
    ) -> "OneGenChatEngine":
        """Without a `memory`, the engine keeps as many turns as leave room for the next one.

        It logs a warning if there is room for none.
        """
        answering = EngineSetup.over(index, llm, options)
        chosen = memory or _default_memory(answering, system_prompt or "")
        return cls(answering, chosen, system_prompt=system_prompt)

    @property
    def chat_history(self) -> list[ChatMessage]:
        history: list[ChatMessage] = self._memory.get_all()
        return history

    def unload(self) -> None:
        """Frees the model, which is loaded again when it is next used."""
        self._setup.llm.unload()

    def reset(self) -> None:
        """Clear the conversation."""
        self._memory.reset()

    @checks(require_message)
    @trace_method("chat")
    def chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        messages, retrieved = self._begin(message, chat_history)
        reply = self._setup.llm.chat(messages, **self._setup.arguments(retrieved))
        self._memory.put(reply.message)
        return _to_response(reply, retrieved)

    @checks(require_message)
    @trace_method("chat")
    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        messages, retrieved = await self._abegin(message, chat_history)
        reply = await self._setup.llm.achat(
            messages, **self._setup.arguments(retrieved, asynchronous=True)
        )
        await self._memory.aput(reply.message)
        return _to_response(reply, retrieved)

    @checks(require_message)
    @trace_method("chat")
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retrieved = self._begin(message, chat_history)
        reply = self._setup.llm.stream_chat(messages, **self._setup.arguments(retrieved))
        sources: list[ToolOutput] = []
        response = StreamingAgentChatResponse(
            chat_stream=_fill(reply, retrieved, sources),
            sources=sources,
            source_nodes=retrieved.nodes,
        )
        # LlamaIndex's thread has the context of its caller.
        thread = Thread(target=response.write_response_to_history, args=(self._memory,))
        response.write_response_to_history_thread = thread
        thread.start()
        return response

    @checks(require_message)
    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        messages, retrieved = await self._abegin(message, chat_history)
        arguments = self._setup.arguments(retrieved, asynchronous=True)
        reply = await self._setup.llm.astream_chat(messages, **arguments)
        sources: list[ToolOutput] = []
        response = StreamingAgentChatResponse(
            achat_stream=_afill(reply, retrieved, sources),
            sources=sources,
            source_nodes=retrieved.nodes,
        )
        writing = response.awrite_response_to_history(self._memory)
        response.awrite_response_to_history_task = asyncio.create_task(writing)
        return response

    def _begin(
        self, message: str, chat_history: list[ChatMessage] | None
    ) -> tuple[list[ChatMessage], RetrievedNodes]:
        if chat_history is not None:
            require_messages(chat_history)
            self._memory.set(chat_history)
        self._memory.put(ChatMessage(message))
        remembered = self._memory.get(input=message)
        return [*self._prefix, *remembered], self._setup.begin()

    async def _abegin(
        self, message: str, chat_history: list[ChatMessage] | None
    ) -> tuple[list[ChatMessage], RetrievedNodes]:
        if chat_history is not None:
            require_messages(chat_history)
            await self._memory.aset(chat_history)
        await self._memory.aput(ChatMessage(message))
        remembered = await self._memory.aget(input=message)
        return [*self._prefix, *remembered], self._setup.begin()


def _default_memory(setup: EngineSetup, system_prompt: str) -> BaseMemory:
    """Leaves room for the system's text, an answer, and the passages of one retrieval."""
    model, count, longest = setup.llm.shared.model, setup.usual_count, setup.llm.max_tokens
    fixed = model.count_tokens(f"{model.template.system}\n\n{system_prompt}")
    passage = setup.passage_tokens
    room = model.max_context - fixed - longest - count * passage
    if room < model.max_passage_tokens:
        warnings.warn(
            f"The chat engine remembers no earlier turn: {count} passages of up to "
            f"{passage} tokens and an answer of up to {longest} leave "
            f"{max(0, room)} of {model.max_context} tokens for the memory; lower "
            "similarity_top_k or max_tokens, or pass a memory",
            stacklevel=3,
        )
    return TranscriptMemory.from_defaults(
        token_limit=max(1, room), tokenizer_fn=ModelTokenizer(setup.llm.shared)
    )


def _fill(
    reply: Any, retrieved: RetrievedNodes, sources: list[ToolOutput]
) -> Generator[ChatResponse, None, None]:
    yield from reply
    sources += _to_sources(retrieved)


async def _afill(
    reply: Any, retrieved: RetrievedNodes, sources: list[ToolOutput]
) -> AsyncGenerator[ChatResponse, None]:
    async for response in reply:
        yield response
    sources += _to_sources(retrieved)


def _to_sources(retrieved: RetrievedNodes) -> list[ToolOutput]:
    return [
        ToolOutput(
            content=", ".join(hop["node_ids"]),
            tool_name="onegen_retrieve",
            raw_input={"query": hop["query"]},
            raw_output=hop,
            is_error="error" in hop,
        )
        for hop in retrieved.hops
    ]


def _to_response(reply: ChatResponse, retrieved: RetrievedNodes) -> AgentChatResponse:
    return AgentChatResponse(
        response=reply.message.content or "",
        sources=_to_sources(retrieved),
        source_nodes=retrieved.nodes,
        metadata={"hops": retrieved.hops, **outcome(reply), "usage": reply.raw},
    )
