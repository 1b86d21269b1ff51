"""One turn of a model, for any route: what is asked, and the pieces of the answer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from onegen_integrations.server.answering import AnswerPiece, AnswerPieces
from onegen_integrations.server.observing.observer import Watch
from onegen_integrations.shared.repeated_calls import AnsweredCalls, CallTurn
from onegen_integrations.shared.tool_choice import AllowedTools, ToolChoice, Tools
from onegen_integrations.shared.written_turns import (
    WrittenTurn,
    add_usage,
    step_sampling,
    uncalled_tools,
    with_calls,
    written_segments,
)
from onegen_model import (
    Answer,
    AsyncRetriever,
    Conversation,
    Event,
    Grammar,
    InvalidToolCall,
    Message,
    OneGenModel,
    Options,
    RequestHandle,
    RetrievalParams,
    Retriever,
    SamplingParams,
    ToolCall,
    ToolCallParser,
)


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a route asks of a model.

    `tools` are in OpenAI's form; those of `conversation` are not looked at. `response` is the
    grammar of structured output: it is written after the searches, and not at all where the model
    calls a tool. Where a call is forced nothing is searched. `max_new_tokens` of `sampling` bounds
    the structured output alone; the steps before it are bounded apart.
    """

    conversation: Conversation
    tools: Tools = ()
    tool_choice: ToolChoice = None
    response: Grammar | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    retrieval: RetrievalParams = field(default_factory=RetrievalParams)
    retriever: Retriever | AsyncRetriever | None = None
    parallel_tool_calls: bool = True
    watch: Watch | None = field(default=None, compare=False)


class Turn(AsyncIterator[AnswerPiece]):
    """The pieces of an answer as they are written; `begin` submits it.

    Close it (`contextlib.aclosing`): this cancels what has not finished. Usage and the reason of
    the end are in the last piece. Errors of the core are raised where they happen.
    """

    def __init__(self, model: OneGenModel, request: TurnRequest) -> None:
        self._model, self._sampling = model, request.sampling
        self._watch = request.watch
        allowed = AllowedTools.of_call({"tools": request.tools, "tool_choice": request.tool_choice})
        self._conversation = replace(request.conversation, tools=tuple(allowed.tools))
        self._response = None if allowed.grammar else request.response
        turns = call_turns(request.conversation)
        self._answered, self._uncalled = AnsweredCalls.in_turns(turns), list[Mapping[str, Any]]()
        if allowed.grammar:
            self._uncalled = list(uncalled_tools(allowed.tools, turns, request.tool_choice))
            if not self._uncalled:  # The call is forced, repeated or not.
                self._answered = AnsweredCalls()
        self._max_calls = None if request.parallel_tool_calls else 1
        self._num_calls = self._num_repeated = self._num_dropped = 0
        self._calls = list[ToolCall]()
        self._written, self._answers = WrittenTurn(), list[Answer]()
        options, constrained = self._first_options(request, allowed)
        self._awaits_output = self._response is not None and not constrained
        self._shown = AnswerPieces(
            None if constrained else model.template,
            offers_tools=bool(allowed.tools) and not (constrained and self._response),
            opening=_opening(self._conversation),
        )
        self._handle = model.submit(self._conversation, **options)
        self._pieces: AsyncGenerator[AnswerPiece, None] | None = None

    @classmethod
    async def begin(cls, model: OneGenModel, request: TurnRequest) -> "Turn":
        """Submit `request`, without blocking the event loop.

        Raises InvalidInputError for what cannot be answered, ContextTooLongError, and
        QueueFullError at once.
        """
        return await asyncio.to_thread(cls, model, request)

    async def __anext__(self) -> AnswerPiece:
        if self._pieces is None:  # Not before: its frame refers to this object.
            self._pieces = self._write()
        return await anext(self._pieces)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation with this answer, once it has ended. The next turn that begins with them
        reads only what is new.
        """
        opening = self._conversation.opening
        segments = written_segments(self._handle, opening)
        if self._num_dropped:
            segments = with_calls(segments, self._calls)
        before = list(self._conversation.messages)
        while before[-1].role == "assistant":
            before.pop()
        return (*before, Message("assistant", segments=tuple(segments)))

    def cancel(self) -> None:
        """End what has not finished."""
        self._model.driver.cancel(self._handle)

    async def aclose(self) -> None:
        """End what has not finished, and its searches."""
        self.cancel()
        if self._pieces is not None:
            await self._pieces.aclose()

    def _first_options(self, request: TurnRequest, allowed: AllowedTools) -> tuple[Options, bool]:
        """Options of the first request, and whether it is under a grammar."""
        is_unfinished = request.conversation.messages[-1].role == "assistant"
        has_steps = request.retriever is not None or bool(allowed.tools)
        grammar = allowed.grammar
        if request.response and not grammar and (is_unfinished or not has_steps):
            grammar = request.response
        if grammar:
            return {"sampling": replace(request.sampling, grammar=grammar)}, True
        sampling, retrieval = request.sampling, request.retrieval
        if request.response:  # A schema has no place for a sentence.
            sampling = step_sampling(sampling, self._model.template)
            retrieval = replace(retrieval, not_found=None)
        return {
            "retriever": request.retriever,
            "retrieval": retrieval,
            "sampling": sampling,
        }, False

    async def _write(self) -> AsyncGenerator[AnswerPiece, None]:
        handle: RequestHandle | None = self._handle
        while handle is not None:
            async with aclosing(self._events(handle)) as events:
                async for event in events:
                    self._written.feed(event)
                    for piece in self._kept(self._shown.feed(event)):
                        yield piece
            for piece in self._kept(self._shown.end_span()):
                yield piece
            self._answers.append(handle.answer())
            handle = await self._submit_again()
        for piece in self._shown.close(self._whole()):
            yield piece

    def _events(self, handle: RequestHandle) -> AsyncGenerator[Event, None]:
        events = self._model.driver.adrive(handle)
        return events if self._watch is None else self._watch(handle, events)

    def _kept(self, pieces: Iterable[AnswerPiece]) -> Iterator[AnswerPiece]:
        """The pieces without calls that were answered before, or are too many."""
        for piece in pieces:
            if isinstance(piece, ToolCall | InvalidToolCall):
                if self._answered.repeats(piece):
                    self._num_repeated += 1
                    self._num_dropped += 1
                    continue
                is_broken = isinstance(piece, InvalidToolCall) and self._awaits_output
                if is_broken or self._num_calls == self._max_calls:
                    self._num_dropped += 1
                    continue
                self._num_calls += 1
                if isinstance(piece, ToolCall):
                    self._calls.append(piece)
            yield piece

    async def _submit_again(self) -> RequestHandle | None:
        """The request that continues the answer, where it is not complete."""
        if len(self._answers) > 1 or self._num_calls:
            return None
        conversation, sampling = self._conversation, self._sampling
        if self._awaits_output:
            self._written.drop_calls()
            conversation = self._written.continued(conversation, "")
            sampling = replace(sampling, grammar=self._response)
            self._shown.resume_constrained(offers_tools=False)
        elif not self._num_repeated or self._shown.text:
            return None
        elif self._uncalled:
            sampling = replace(sampling, grammar=Grammar.tool_call(self._uncalled))
            self._shown.resume_constrained(offers_tools=True)
        else:
            frame = self._model.template.answer_start
            self._written.drop_calls()
            conversation = self._written.continued(conversation, frame)
            self._shown.resume(frame)
        self._conversation, self._num_dropped = conversation, 0
        # The turn has begun, so it waits for room instead of being refused.
        self._handle = await self._model.asubmit(conversation, sampling=sampling)
        return self._handle

    def _whole(self) -> Answer:
        """All requests of the turn as one answer."""
        first, last = self._answers[0], self._answers[-1]
        usage = add_usage([answer.usage for answer in self._answers])
        return replace(last, usage=usage, retrievals=first.retrievals, reason=first.reason)


def call_turns(conversation: Conversation) -> list[CallTurn]:
    """Roles and tool calls of a conversation."""
    return [CallTurn(one.role, tuple(_calls(one))) for one in conversation.messages]


def _calls(message: Message) -> Iterator[tuple[str, object]]:
    if message.role == "assistant":
        parser = ToolCallParser()
        text = "".join(segment.text for segment in message.segments)
        for piece in [*parser.feed(text), *parser.flush()]:
            if isinstance(piece, ToolCall):
                yield piece.name, piece.arguments


def _opening(conversation: Conversation) -> str:
    """Text of an unfinished answer since its last insertion."""
    return conversation.opening[-1].text if conversation.opening else ""
