"""One call of the LLM: its arguments read, its events streamed, and its one second attempt."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse

from onegen_integrations.llama_index.messages import to_call_turns, to_conversation
from onegen_integrations.llama_index.response_builder import ResponseBuilder, part_stream
from onegen_integrations.shared.repeated_calls import AnsweredCalls
from onegen_integrations.shared.structured_output import require_whole
from onegen_integrations.shared.tool_choice import AllowedTools
from onegen_model import (
    Answer,
    Conversation,
    Grammar,
    OneGenModel,
    Options,
    SamplingParams,
    Usage,
)

SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty", "seed", "max_tokens")
ARGUMENTS = (
    *SAMPLING,
    "max_new_tokens",
    "stop",
    "stop_sequences",
    "tools",
    "tool_choice",
    "grammar",
    "retriever",
    "retrieval",
    "retrieved",
)

Sample = Callable[[Mapping[str, Any], Grammar | None, Any], SamplingParams]


@dataclass(slots=True)
class ChatRequest:
    """A question to the model, and the builder of its responses."""

    conversation: Conversation
    options: Options
    builder: ResponseBuilder
    grammar: Grammar | None = None
    usage: Usage | None = field(default=None)  # of the first attempt, in the second

    @classmethod
    def of_call(
        cls,
        model: OneGenModel,
        messages: Sequence[ChatMessage],
        called: Mapping[str, Any],
        sample: Sample,
    ) -> "ChatRequest":
        """Raises InvalidInputError for arguments of a wrong kind.

        `sample` makes the sampling parameters of a call, a grammar and stop strings.
        """
        called = {name: value for name, value in called.items() if value is not None}
        allowed = AllowedTools.of_call(called)
        grammar = allowed.grammar or called.get("grammar")
        retriever = None if grammar else called.get("retriever")
        retrieval = None if grammar else called.get("retrieval")
        retrieved = called.get("retrieved")
        if retrieved is not None:
            retrieved.enter()  # Searches are spans inside this call's.
        conversation = to_conversation(messages, allowed.tools)
        answered = AnsweredCalls.in_turns(to_call_turns(messages))
        opening = conversation.opening
        builder = ResponseBuilder(
            part_stream(
                None if grammar else model.template,
                opening,
                with_tools=bool(allowed.tools) and not called.get("grammar"),
            ),
            retriever is not None,
            retrieved,
            opening,
            # A forced call is kept, even if it is repeated.
            answered.repeats if grammar is None else lambda _: False,
        )
        options: Options = {
            "retriever": retriever,
            "sampling": sample(called, grammar, called.get("stop") or None),
            "retrieval": retrieval,
        }
        return cls(conversation, options, builder, grammar)

    def responses(self, model: OneGenModel) -> Generator[ChatResponse, None, None]:
        """A response for each new text or call, and one for the whole turn."""
        request: ChatRequest | None = self
        while request is not None:
            feed = request.builder.feed
            with model.stream(request.conversation, **request.options) as stream:
                for event in stream:
                    if (delta := feed(event)) is not None:
                        yield request.builder.response(delta)
            again = request._after(model, stream.answer)
            if again is None:
                yield request._close(stream.answer)
            request = again

    async def aresponses(self, model: OneGenModel) -> AsyncGenerator[ChatResponse, None]:
        """Like `responses`, without blocking the event loop."""
        request: ChatRequest | None = self
        while request is not None:
            feed = request.builder.feed
            async with model.astream(request.conversation, **request.options) as stream:
                async for event in stream:
                    if (delta := feed(event)) is not None:
                        yield request.builder.response(delta)
            again = request._after(model, stream.answer)
            if again is None:
                yield request._close(stream.answer)
            request = again

    def _close(self, answer: Answer) -> ChatResponse:
        """Raises OneGenError if a limit has cut the output of the grammar."""
        require_whole(answer, self.grammar)
        return self.builder.close(answer, self.usage)

    def _after(self, model: OneGenModel, answer: Answer) -> "ChatRequest | None":
        """The second attempt, without tools, if the first has only repeated earlier calls."""
        builder = self.builder
        if self.usage is not None or not builder.has_dropped or not builder.is_empty:
            return None
        if builder.retrieved is not None:
            builder.retrieved.clear()
        parts = part_stream(model.template, builder.opening, with_tools=True)
        unoffered = ResponseBuilder(
            parts, builder.retrieves, builder.retrieved, builder.opening, lambda _: True
        )
        conversation = Conversation(self.conversation.messages)
        return replace(self, conversation=conversation, builder=unoffered, usage=answer.usage)
