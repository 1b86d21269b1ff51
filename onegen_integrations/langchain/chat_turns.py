"""One call of a chat model: the request it makes of the core, and the chunks of its events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from onegen_integrations.langchain.blocks import MessageStream, ToolRules
from onegen_integrations.langchain.logprobs import openai_logprobs
from onegen_integrations.langchain.messages import (
    call_turns,
    earlier_blocks,
    open_text,
    to_conversation,
)
from onegen_integrations.langchain.structured import response_grammar
from onegen_integrations.langchain.turns import Lookup
from onegen_integrations.shared.repeated_calls import AnsweredCalls
from onegen_integrations.shared.tool_choice import AllowedTools, Tools
from onegen_integrations.shared.written_turns import (
    WrittenTurn,
    add_usage,
    step_sampling,
    uncalled_tools,
)
from onegen_model import (
    Answer,
    Conversation,
    Event,
    Grammar,
    OneGenModel,
    Options,
    PassagesInserted,
    RetrievalParams,
    SamplingParams,
    Segment,
    Template,
    Token,
    Usage,
)


@dataclass(frozen=True, slots=True)
class CallTools:
    """Tools of a call: those that are shown, what must be written, and which calls are dropped."""

    shown: Tools
    forced: Grammar | None
    response: Grammar | None
    rules: ToolRules
    # Where any call is forced: the tools that have not been called for the current question.
    uncalled: Tools = ()

    @classmethod
    def of_call(cls, messages: Sequence[BaseMessage], called: Mapping[str, Any]) -> "CallTools":
        """Raises InvalidInputError for a choice or a format that does not exist."""
        allowed = AllowedTools.of_call(called)
        turns = call_turns(messages)
        answered = AnsweredCalls.in_turns(turns)
        choice = called.get("tool_choice")
        uncalled = uncalled_tools(allowed.tools, turns, choice) if allowed.grammar else ()
        if allowed.grammar and not uncalled:
            answered = AnsweredCalls()  # The call is forced, repeated or not.
        rules = ToolRules(
            offers_tools=bool(allowed.tools),
            answered=answered,
            max_calls=1 if called.get("parallel_tool_calls") is False else None,
        )
        response = None if allowed.grammar else response_grammar(called)
        return cls(allowed.tools, allowed.grammar, response, rules, uncalled)

    def may_retrieve(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether passages may be inserted: before structured output, never in a forced call.

        Output behind an unfinished answer, which has its passages, begins at once.
        """
        is_unfinished = isinstance(messages[-1], AIMessage) if messages else False
        return not self.forced and not (self.response and is_unfinished)


@dataclass(slots=True)
class ChatTurn:
    """One call in progress; while it `is_open`, the core answers `conversation` with `options`.

    A turn takes a second request of the core in two cases, and remains one message. Structured
    output is written after the retrievals, on a line of its own. And a model that repeats an
    answered tool call and writes nothing else continues without that call, inside the answer frame
    (or, where a call is forced, with another tool).
    """

    conversation: Conversation
    options: Options
    template: Template
    messages: MessageStream
    lookup: Lookup | None
    tools: CallTools
    sampling: SamplingParams
    is_open: bool = True
    _requests: list[Usage] = field(default_factory=list)
    _tokens: list[Token] = field(default_factory=list)
    _reason: str = ""
    _num_inserted: int = 0
    _written: WrittenTurn = field(default_factory=WrittenTurn)

    @classmethod
    def begin(
        cls,
        messages: Sequence[BaseMessage],
        template: Template,
        tools: CallTools,
        sampling: SamplingParams,
        looked_up: tuple[Lookup | None, Options],
    ) -> "ChatTurn":
        """Raises InvalidInputError for messages that cannot be answered."""
        lookup, options = looked_up
        conversation = to_conversation(messages, template, tools.shown)
        grammar = tools.forced or (tools.response if lookup is None else None)
        requested: Options = {**options, "sampling": replace(sampling, grammar=grammar)}
        if grammar:
            # The whole text is parsed, and the earlier turn is not changed.
            shown = MessageStream(None, plain=True, tools=tools.rules)
            conversation = _on_a_new_line(conversation, template)
            return cls(conversation, requested, template, shown, lookup, tools, sampling)
        earlier = earlier_blocks(messages[-1])
        shown = MessageStream(
            template,
            plain=lookup is None and not earlier,
            tools=tools.rules,
            earlier=earlier,
            opening=open_text(conversation, template),
        )
        if tools.response:
            retrieval = requested.get("retrieval")
            if isinstance(retrieval, RetrievalParams):  # A schema has no place for a sentence.
                requested["retrieval"] = replace(retrieval, not_found=None)
            requested["sampling"] = step_sampling(sampling, template)
        return cls(conversation, requested, template, shown, lookup, tools, sampling)

    def feed(self, event: Event) -> list[AIMessageChunk]:
        """Chunks for an event."""
        error = ""
        self._written.feed(event)
        if isinstance(event, PassagesInserted):
            error = "" if self.lookup is None else self.lookup.errors[self._num_inserted]
            self._num_inserted += 1
        return self.messages.feed(event, error=error)

    def end(self, answer: Answer, model_name: str, model: OneGenModel) -> list[AIMessageChunk]:
        """The last chunks of a request of the core; `is_open` where another one follows."""
        chunks = self.messages.end_span()
        is_first = not self._requests
        self._requests.append(answer.usage)
        self._tokens += answer.tokens
        self._reason = self._reason or answer.reason
        if is_first and self.lookup is not None and self.tools.response:
            self._continue_with_the_answer(self.tools.response)
            return chunks
        if is_first and self.messages.only_repeats:
            self._continue_without_the_call()
            return chunks
        self.is_open = False
        whole = replace(answer, usage=add_usage(self._requests), reason=self._reason)
        chunks += self.messages.close(whole, model_name)
        if self.sampling.logprobs is not None:
            chunks[-1].response_metadata["logprobs"] = openai_logprobs(self._tokens, model)
        return chunks

    def _continue_without_the_call(self) -> None:
        if self.tools.uncalled:
            self.messages.resume("")
            grammar = Grammar.tool_call(self.tools.uncalled)
            self.options["sampling"] = replace(self.sampling, grammar=grammar)
            return
        self._written.drop_calls()
        self._continue_with_the_answer(None)

    def _continue_with_the_answer(self, grammar: Grammar | None) -> None:
        """Keeps the written text; the model writes its answer without another retrieval."""
        frame = self.template.answer_start
        # JSON in the frame would be written as if it were the answer's text.
        self.messages.resume(frame, is_written=grammar is None)
        opening = "" if grammar else frame
        self.conversation = self._written.continued(self.conversation, opening)
        self.options = {"sampling": replace(self.sampling, grammar=grammar)}


def _on_a_new_line(conversation: Conversation, template: Template) -> Conversation:
    """An unfinished answer at the end without its open frame, and with its last line ended."""
    *messages, last = conversation.messages
    if last.role != "assistant" or not last.segments or last.segments[-1].retrieves:
        return conversation
    *segments, open_segment = last.segments
    text = open_segment.text.removesuffix(template.answer_start)
    if text and not text.endswith("\n"):
        text += "\n"
    ended = replace(last, segments=(*segments, Segment(text)))
    return replace(conversation, messages=(*messages, ended))
