"""Events of one turn to what LlamaIndex streams, and back to a message that can be replayed."""

import json
import uuid
from collections.abc import Sequence
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
from onegen_integrations.llama_index.searching import NodeRetriever
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
    Segment,
    StepText,
    Template,
    Token,
    ToolCall,
)


@dataclass(slots=True)
class Turn:
    """One per request. Where passages are looked up, only the answer is streamed as text."""

    parts: PartStream
    retriever: Any = None
    text: str = ""
    calls: list[ToolCallBlock] = field(default_factory=list)
    opening: tuple[Segment, ...] = ()
    _spans: list[str] = field(default_factory=lambda: [""])
    _passages: list[tuple[Passage, ...]] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        template: Template | None,
        retriever: Any,
        opening: tuple[Segment, ...] = (),
        *,
        with_tools: bool,
    ) -> "Turn":
        """Goes on from `opening`, which is not told again; under a grammar without a template."""
        begun = "".join(segment.text for segment in opening)
        parts = PartStream(template, begun, with_tools=with_tools)
        return cls(parts, retriever, opening=opening)

    @property
    def retrieves(self) -> bool:
        return self.retriever is not None

    def feed(self, event: Event) -> str | None:
        """New text; None where there is nothing new to show."""
        before = len(self.calls)
        match event:
            case Token():
                self._spans[-1] += event.text
                new = self._show(self.parts.feed(event.text))
            case PassagesInserted():
                self._passages.append(tuple(one.passage for one in event.passages))
                if isinstance(self.retriever, NodeRetriever):
                    self.retriever.insert(event)
                new = self._show(self.parts.end_span())
                self._spans.append("")
            case Finished():
                new = self._show(self.parts.end_span())
                if self.retrieves:  # what is no answer was not shown
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

    def close(self, answer: Answer) -> ChatResponse:
        """The whole turn: steps, usage, and what it takes to send it back exactly."""
        passages = [*self._passages, ()]
        spans = zip(self._spans, passages, self._own_ids(answer), strict=True)
        segments = [
            Segment(text, at < len(self._passages), found, ids)
            for at, (text, found, ids) in enumerate(spans)
        ]
        steps = {"steps": list(answer.steps)}
        message = ChatMessage(
            role=MessageRole.ASSISTANT, blocks=self._blocks(), additional_kwargs=steps
        )
        remember(message, segments, finished=answer.finish_reason == "end")
        usage = {**asdict(answer.usage), "finish_reason": answer.finish_reason}
        return ChatResponse(message=message, delta="", raw=usage)

    def _own_ids(self, answer: Answer) -> list[tuple[int, ...] | None]:
        """Ids of each span behind the opening; None where a span began in there."""
        begun = self.opening and not self.opening[-1].retrieves
        first, *others = answer.written[len(self.opening) - bool(begun) :]
        return [None if begun else first, *others]

    def _blocks(self) -> list[Any]:
        return [TextBlock(text=self.text), *self.calls]


def _to_block(call: ToolCall | InvalidToolCall) -> ToolCallBlock:
    """A broken call keeps its text: whoever runs it sees that it is no arguments."""
    call_id = f"call_{uuid.uuid4().hex}"
    if isinstance(call, ToolCall):
        return ToolCallBlock(tool_call_id=call_id, tool_name=call.name, tool_kwargs=call.arguments)
    return ToolCallBlock(
        tool_call_id=call_id, tool_name="invalid", tool_kwargs=json.dumps({"text": call.text})
    )
