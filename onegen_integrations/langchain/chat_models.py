"""A chat model that retrieves while it answers."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
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
from langchain_core.utils.function_calling import convert_to_openai_tool

from onegen_integrations.langchain import tracing
from onegen_integrations.langchain.blocks import PROVIDER
from onegen_integrations.langchain.calls import TOOLS, plain, read_options
from onegen_integrations.langchain.chat_turns import CallTools, ChatTurn
from onegen_integrations.langchain.fields import CONFIG, WritingFields, option_names
from onegen_integrations.langchain.logprobs import LogprobFields
from onegen_integrations.langchain.messages import count_prompt
from onegen_integrations.langchain.structured import bind_arguments, parsed_output, structured
from onegen_integrations.langchain.turns import Lookup
from onegen_integrations.shared.tool_choice import ToolChoice
from onegen_model import Options


class OneGenChatModel(WritingFields, LogprobFields, BaseChatModel):
    """Retrieval-augmented chat by one model in one pass.

    With a `vectorstore` (or a `retriever`) the content is a list of standard blocks: `reasoning`,
    `server_tool_call` and `server_tool_result` for each retrieval, one `text` with citations.
    Without one it is a string. `streaming` makes `invoke` stream to callbacks.
    """

    model_config = CONFIG

    streaming: bool = False

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """A store or retriever is not serialised with the model: attach it again."""
        return True

    @property
    def _llm_type(self) -> str:
        return "onegen-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self.parameters, **self.scored}

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
        """The name of the model as text, which agents read."""
        return self.model_label

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Tokens of the prompt of these messages, with tools and earlier passages.

        The chat template and the system text of the checkpoint count too.
        """
        shown = [convert_to_openai_tool(tool) for tool in tools or ()]
        return count_prompt(messages, self.shared.model, shown)

    def _turn(
        self,
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        run: tracing.Run | None,
        called: Mapping[str, Any],
    ) -> ChatTurn:
        called = read_options(called, option_names() | {*TOOLS, *LogprobFields.model_fields})
        tools = CallTools.of_call(messages, called)
        looked_up: tuple[Lookup | None, Options] = (None, {})
        if tools.may_retrieve(messages):
            looked_up = self.begin_lookup(self.shared, run, called)
        sampling = replace(self.sampling(called, stop=stop), logprobs=self.num_logprobs(called))
        return ChatTurn.begin(messages, self.shared.model.template, tools, sampling, looked_up)

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
        while turn.is_open:
            with self.shared.model.stream(turn.conversation, **turn.options) as stream:
                for event in stream:
                    yield from map(_chunk, turn.feed(event))
            yield from map(_chunk, turn.end(stream.answer, self.model_label, self.shared.model))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = tracing.current_run(run_manager)
        # Loading the model and reading a long history would block the event loop.
        turn = await asyncio.to_thread(self._turn, messages, stop, run, kwargs)
        for first in turn.messages.open():
            yield _chunk(first)
        while turn.is_open:
            async with self.shared.model.astream(turn.conversation, **turn.options) as stream:
                async for event in stream:
                    for chunk in turn.feed(event):
                        yield _chunk(chunk)
            for last in turn.end(stream.answer, self.model_label, self.shared.model):
                yield _chunk(last)

    # The following methods make the run known to `_stream`, for the runs of its retrievals.

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
            own = self._uncached(kwargs)
            return BaseChatModel._generate_with_cache(own, messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # The cache's key has the model's fingerprint; loading it would block the event loop.
        await asyncio.to_thread(lambda: self.shared.model)
        with tracing.entered(tracing.current_run(run_manager)):
            own = self._uncached(kwargs)
            return await BaseChatModel._agenerate_with_cache(
                own, messages, stop, run_manager, **kwargs
            )

    def _uncached(self, called: Mapping[str, Any]) -> "OneGenChatModel":
        """This model without a cache where it may retrieve: a store's documents change."""
        return self.model_copy(update={"cache": False}) if self.is_searching(called) else self

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As many at once as the device's batch has rows, unless `max_concurrency` is given."""
        configs = tracing.bounded(config, len(inputs))
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Like `batch`, without blocking the event loop."""
        configs = tracing.bounded(config, len(inputs))
        return await super().abatch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

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
        """`method`: "json_schema", "function_calling" or "json_mode"; all constrain decoding.

        With something to search, the model retrieves before it writes, but for a function call.
        """
        bound, parser = structured(self, schema, method, kwargs)
        return parsed_output(bound, parser, include_raw=include_raw)


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
