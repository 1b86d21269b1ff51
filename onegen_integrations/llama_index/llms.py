"""A function-calling LLM for LlamaIndex, on the model that also embeds."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr, model_serializer
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

from onegen_integrations.llama_index.chat_request import ARGUMENTS, ChatRequest
from onegen_integrations.llama_index.input_checks import (
    checks,
    require_messages,
    require_prompt,
)
from onegen_integrations.llama_index.model_fields import PicklableModelFields
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_model import Grammar
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

# Where structured output streams, LlamaIndex reads it from the text and not from a call.
_AS_JSON = "as_json"


class _Metadata(LLMMetadata):
    """Reads the context length from the model, which is loaded for it and for nothing else.

    LlamaIndex reads the other fields inside the event loop, before each call.
    """

    _shared: SharedModel = PrivateAttr()

    def __init__(self, shared: SharedModel, **known: Any) -> None:
        super().__init__(**known)
        self._shared = shared

    def __getattribute__(self, name: str) -> Any:
        if name == "context_window":
            return self._shared.model.max_context
        return super().__getattribute__(name)

    @model_serializer(mode="wrap")
    def _with_context(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**dump(self), "context_window": self.context_window}


class OneGenLLM(PicklableModelFields, SamplingFields, FunctionCallingLLM):
    """Chat, completion, tools and structured output, without retrieval of its own.

    A chat takes `retriever` and `retrieval` of the core as keyword arguments; `OneGenQueryEngine`
    passes both. A call of a tool that only repeats one whose result the messages hold is dropped;
    where nothing else was written the model then answers without tools.
    """

    # The core's defaults, as values: LlamaIndex shows them and calculates with `max_tokens`.
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    stop: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "OneGenLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return _Metadata(self.shared, **self._known())

    def to_payload(self) -> dict[str, Any]:
        """The metadata in events, without the context window: it would load the model."""
        return {"class_name": self.class_name(), **self._known()}

    def _known(self) -> dict[str, Any]:
        return {
            "num_output": self.max_tokens,
            "is_chat_model": True,
            "is_function_calling_model": True,
            "model_name": self.model_label,
        }

    def _request(self, messages: Sequence[ChatMessage], called: Mapping[str, Any]) -> ChatRequest:
        return ChatRequest.of_call(self.shared.model, messages, called, self.sampling)

    def _responses(
        self, messages: Sequence[ChatMessage], called: Mapping[str, Any]
    ) -> Generator[ChatResponse, None, None]:
        yield from self._request(messages, called).responses(self.shared.model)

    async def _aresponses(
        self, messages: Sequence[ChatMessage], called: Mapping[str, Any]
    ) -> AsyncGenerator[ChatResponse, None]:
        # Loading the model and reading a long history would hold up the event loop.
        request = await asyncio.to_thread(self._request, messages, called)
        async with aclosing(request.aresponses(self.shared.model)) as responses:
            async for response in responses:
                yield response

    @checks(require_messages, ARGUMENTS)
    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        *_, last = self._responses(messages, kwargs)
        return last

    @checks(require_messages, ARGUMENTS)
    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return [response async for response in self._aresponses(messages, kwargs)][-1]

    @checks(require_messages, ARGUMENTS)
    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._responses(messages, kwargs)

    @checks(require_messages, ARGUMENTS)
    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        return self._aresponses(messages, kwargs)

    @checks(require_prompt, ARGUMENTS)
    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        *_, last = self._responses([ChatMessage(prompt)], kwargs)
        return _to_completion(last)

    @checks(require_prompt, ARGUMENTS)
    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        responses = self._aresponses([ChatMessage(prompt)], kwargs)
        return [_to_completion(response) async for response in responses][-1]

    @checks(require_prompt, ARGUMENTS)
    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        responses = self._responses([ChatMessage(prompt)], kwargs)
        return (_to_completion(response) for response in responses)

    @checks(require_prompt, ARGUMENTS)
    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        async def completions() -> CompletionResponseAsyncGen:
            async for response in self._aresponses([ChatMessage(prompt)], kwargs):
                yield _to_completion(response)

        return completions()

    def _prepare_chat_with_tools(
        self,
        tools: Sequence["BaseTool"],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg)
        formatted = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        if kwargs.pop(_AS_JSON, False):
            schema = tools[0].metadata.get_parameters_dict()
            kwargs |= {"grammar": Grammar.json_schema(schema), "tool_choice": None}
        elif tool_required:
            kwargs["tool_choice"] = kwargs.get("tool_choice") or "any"
        return {"messages": messages, "tools": formatted, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence["BaseTool"],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """The response with its first call only, unless several are allowed."""
        message = response.message
        calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
        if not allow_parallel_tool_calls:
            message.blocks = [block for block in message.blocks if block not in calls[1:]]
        return response

    def _structured_stream_call(
        self,
        output_cls: type[Any],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        called = {**(llm_kwargs or {}), _AS_JSON: True}
        return super()._structured_stream_call(output_cls, prompt, called, **prompt_args)

    async def _structured_astream_call(
        self,
        output_cls: type[Any],
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        called = {**(llm_kwargs or {}), _AS_JSON: True}
        return await super()._structured_astream_call(output_cls, prompt, called, **prompt_args)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls of the message; raises InvalidInputError if one is needed and there is none."""
        blocks = [one for one in response.message.blocks if isinstance(one, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise InvalidInputError(
                "The model has called no tool; expected at least one call; force one with "
                "`tool_required=True`"
            )
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "",
                tool_name=block.tool_name,
                tool_kwargs=_arguments(block),
            )
            for block in blocks
        ]


def _arguments(block: ToolCallBlock) -> dict[str, Any]:
    if isinstance(block.tool_kwargs, str):
        return dict(json.loads(block.tool_kwargs))
    return block.tool_kwargs


def _to_completion(response: ChatResponse) -> CompletionResponse:
    text = response.message.content or ""
    return CompletionResponse(text=text, delta=response.delta, raw=response.raw)
