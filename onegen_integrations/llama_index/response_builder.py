"""Events of one request to the responses that LlamaIndex streams, and to a replayable message."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from onegen_integrations.llama_index.messages import remember
from onegen_integrations.llama_index.node_retriever import RetrievedNodes
from onegen_model import (
    Answer,
    AnswerText,
    Event,
    Finished,
    InvalidToolCall,
    Part,
    PartStream,
    Passage,
    PassagesInserted,
    RetrievalRequested,
    Segment,
    StepText,
    Template,
    Token,
    ToolCall,
    Usage,
)


@dataclass(slots=True)
class ResponseBuilder:
    """One per request. Where passages are retrieved, only the answer is streamed as text.

    `drops` decides which calls of tools do not reach the response.
    """

    parts: PartStream
    retrieves: bool = False
    retrieved: RetrievedNodes | None = None
    opening: tuple[Segment, ...] = ()
    drops: Callable[[ToolCall | InvalidToolCall], bool] = lambda _: False
    text: str = ""
    calls: list[ToolCallBlock] = field(default_factory=list)
    has_dropped: bool = False
    _spans: list[str] = field(default_factory=lambda: [""])
    _passages: list[tuple[Passage, ...]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the reader has been shown neither text nor a call."""
        return not self.calls and not self.text.strip()

    def feed(self, event: Event) -> str | None:
        """New text; None where there is nothing new to show."""
        before = len(self.calls)
        if self.retrieved is not None and isinstance(event, RetrievalRequested | PassagesInserted):
            self.retrieved.add(event)
        match event:
            case Token():
                self._spans[-1] += event.text
                new = self._show(self.parts.feed(event.text))
            case PassagesInserted():
                self._passages.append(tuple(one.passage for one in event.passages))
                new = self._show(self.parts.end_span())
                self._spans.append("")
            case Finished():
                new = self._show(self.parts.end_span())
                if self.retrieves:  # Without a frame the answer is not shown before its end.
                    new += self._add(self.parts.unframed)
            case _:
                new = ""
        return new if new or len(self.calls) > before else None

    def _show(self, parts: Sequence[Part]) -> str:
        return "".join(self._show_part(part) for part in parts)

    def _show_part(self, part: Part) -> str:
        match part:
            case AnswerText():
                return self._add(part.text)
            case StepText() if not self.retrieves:
                return self._add(part.text if self.text else part.text.lstrip())
            case ToolCall() | InvalidToolCall() if self.drops(part):
                self.has_dropped = True
            case ToolCall() | InvalidToolCall():
                self.calls.append(_to_block(part))
        return ""

    def _add(self, text: str) -> str:
        self.text += text
        return text

    def response(self, delta: str) -> ChatResponse:
        """What has been written so far."""
        message = ChatMessage(role=MessageRole.ASSISTANT, blocks=self._blocks())
        return ChatResponse(message=message, delta=delta)

    def close(self, answer: Answer, earlier: Usage | None = None) -> ChatResponse:
        """The whole turn: steps, usage, and the segments with which it is replayed exactly.

        `earlier` is the usage of an attempt before this one, which is added.
        """
        passages = [*self._passages, ()]
        spans = zip(self._spans, passages, self._own_ids(answer), strict=True)
        segments = [
            Segment(text, at < len(self._passages), found, ids)
            for at, (text, found, ids) in enumerate(spans)
        ]
        outcome = {"found": answer.found, "reason": answer.reason}
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=self._blocks(),
            additional_kwargs={"steps": list(answer.steps), **outcome},
        )
        remember(message, segments, finished=answer.finish_reason == "end")
        usage = asdict(answer.usage)
        for name, count in asdict(earlier or Usage()).items():
            usage[name] += count
        raw = {**usage, "finish_reason": answer.finish_reason, **outcome}
        return ChatResponse(message=message, delta="", raw=raw)

    def _own_ids(self, answer: Answer) -> list[tuple[int, ...] | None]:
        """Ids of each span behind the opening; None where a span began in the opening."""
        begun = self.opening and not self.opening[-1].retrieves
        first, *others = answer.written[len(self.opening) - bool(begun) :]
        return [None if begun else first, *others]

    def _blocks(self) -> list[Any]:
        return [TextBlock(text=self.text), *self.calls]


def part_stream(
    template: Template | None, opening: Sequence[Segment], *, with_tools: bool
) -> PartStream:
    """The parser of an answer that begins with `opening`; under a grammar without a template."""
    begun = "".join(segment.text for segment in opening)
    return PartStream(template, begun, with_tools=with_tools)


def outcome(reply: ChatResponse) -> dict[str, Any]:
    """The steps of a whole answer, and whether all was found; for the metadata of engines."""
    known = reply.message.additional_kwargs
    return {name: known[name] for name in ("steps", "found", "reason")}


def _to_block(call: ToolCall | InvalidToolCall) -> ToolCallBlock:
    """A block with the call; one that cannot be read keeps its text as an argument."""
    call_id = f"call_{uuid.uuid4().hex}"
    if isinstance(call, ToolCall):
        return ToolCallBlock(tool_call_id=call_id, tool_name=call.name, tool_kwargs=call.arguments)
    return ToolCallBlock(
        tool_call_id=call_id, tool_name="invalid", tool_kwargs=json.dumps({"text": call.text})
    )
