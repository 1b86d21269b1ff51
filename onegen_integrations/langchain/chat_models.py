"""A chat model that retrieves inside its answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig

from onegen_integrations.langchain import tracing
from onegen_integrations.langchain.blocks import PROVIDER, MessageStream
from onegen_integrations.langchain.calls import identity_of, plain, require_known
from onegen_integrations.langchain.fields import (
    CONFIG,
    NamedModelFields,
    RetrievalFields,
    option_names,
)
from onegen_integrations.langchain.messages import earlier_blocks, open_text, to_conversation
from onegen_integrations.langchain.structured import (
    ToolChoice,
    bind_arguments,
    find_grammar,
    shown_tools,
    structured,
)
from onegen_integrations.langchain.turns import TurnRetriever
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_model import Answer, Conversation, Event, Options


@dataclass(slots=True)
class _Turn:
    """One call: what the core is asked, and how its events are told."""

    conversation: Conversation
    options: Options
    messages: MessageStream
    retriever: TurnRetriever | None
    model_name: str

    def feed(self, event: Event) -> list[AIMessageChunk]:
        error = self.retriever.error_of(event) if self.retriever else ""
        return self.messages.feed(event, error=error)

    def close(self, answer: Answer) -> list[AIMessageChunk]:
        return self.messages.close(answer, self.model_name)


class OneGenChatModel(NamedModelFields, SamplingFields, RetrievalFields, BaseChatModel):
    """Retrieval-augmented chat by one model in one pass.

    With a `vectorstore` (or a `retriever`) the content is a list of standard blocks: `reasoning`,
    `server_tool_call` and `server_tool_result` for each retrieval, one `text` with citations.
    Without one it is a string.
    """

    model_config = CONFIG

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """What is searched does not go along: it has to be attached again."""
        return True

    @property
    def _llm_type(self) -> str:
        return "onegen-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = {*SamplingFields.model_fields, *RetrievalFields.model_fields, "dtype"}
        own = {name: plain(getattr(self, name)) for name in names - {"vectorstore", "retriever"}}
        store = None if self.source is None else identity_of(self.source)
        return {**own, "model": self.model_label, "store": store}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        params = {**self._identifying_params, **plain(kwargs), "stop": stop}
        return f"{self._llm_type} {self.shared.fingerprint} {sorted(params.items(), key=str)}"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params.setdefault("ls_model_name", self.model_label)
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        # A `response_format` leaves no way to call a tool: agents offer the schema as one instead.
        return ModelProfile(
            tool_calling=True, tool_choice=True, structured_output=False, reasoning_output=True
        )

    @property
    def model_name(self) -> str:
        """Agents read it, and expect a text."""
        return self.model_label

    def get_token_ids(self, text: str) -> list[int]:
        """Those of the model; nothing is looked up elsewhere."""
        return self.shared.model.renderer.text_ids(text)

    def _turn(
        self,
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        run: tracing.Run | None,
        called: Mapping[str, Any],
    ) -> _Turn:
        require_known(called, option_names())
        model = self.shared.model
        tools = shown_tools(called)
        grammar = find_grammar(tools, called)
        search = None if grammar else self.search(self.shared, called)
        retriever = retrieval = None
        if search:
            retriever = TurnRetriever(search, run, self.skips_errors(called))
            retrieval = self.retrieval_params(search, called)
        conversation = to_conversation(messages, model.template, tools)
        opening = "" if grammar else open_text(conversation, model.template)
        # What a grammar lets be written is to be parsed: what it is written behind stays outside.
        earlier = [] if grammar else earlier_blocks(messages[-1])
        told = MessageStream(
            None if grammar else model.template,
            plain=not search and not earlier,
            with_tools=bool(tools),
            earlier=earlier,
            opening=opening,
        )
        options: Options = {
            "retriever": retriever,
            "sampling": self.sampling(called, grammar, stop),
            "retrieval": retrieval,
        }
        return _Turn(conversation, options, told, retriever, self.model_label)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chunks = [chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)]
        return generate_from_stream(iter(chunks))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        turn = self._turn(messages, stop, tracing.current_run(run_manager), kwargs)
        yield from map(_chunk, turn.messages.open())
        with closing(self.shared.model.stream(turn.conversation, **turn.options)) as stream:
            for event in stream:
                yield from map(_chunk, turn.feed(event))
        yield from map(_chunk, turn.close(stream.answer))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = tracing.current_run(run_manager)
        # Loading the model and reading a long history would hold up the event loop.
        turn = await asyncio.to_thread(self._turn, messages, stop, run, kwargs)
        events = await asyncio.to_thread(
            self.shared.model.astream, turn.conversation, **turn.options
        )
        async with aclosing(events) as stream:
            for first in turn.messages.open():
                yield _chunk(first)
            async for event in stream:
                for chunk in turn.feed(event):
                    yield _chunk(chunk)
        for last in turn.close(stream.answer):
            yield _chunk(last)

    # What follows lets `_stream` know its run, for the child runs of its retrievals.

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        config, run = tracing.begin(config, asynchronous=False)
        yield from tracing.each_in(run, super().stream(input, config, stop=stop, **kwargs))

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        config, run = tracing.begin(config, asynchronous=True)
        chunks = tracing.aeach_in(run, super().astream(input, config, stop=stop, **kwargs))
        async with aclosing(chunks) as items:
            async for chunk in items:
                yield chunk

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with tracing.entered(tracing.current_run(run_manager)):
            return super()._generate_with_cache(messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # The cache goes by the model's fingerprint; loading it would hold up the event loop.
        await asyncio.to_thread(lambda: self.shared.model)
        with tracing.entered(tracing.current_run(run_manager)):
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """All at once, unless `max_concurrency` says otherwise: they share the device's batch."""
        configs = tracing.all_at_once(config, len(inputs))
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: ToolChoice = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """`tool_choice` "any" or a name makes the model call one, by constrained decoding."""
        return self.bind(**bind_arguments(tools, tool_choice), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: str = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """`method`: "json_schema", "function_calling" or "json_mode"; all constrain decoding."""
        return structured(self, schema, method=method, include_raw=include_raw, **kwargs)


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
