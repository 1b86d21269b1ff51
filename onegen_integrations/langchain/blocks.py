"""Converts events of one turn to LangChain message chunks in standard (v1) content blocks.

With a retriever, steps are `reasoning` blocks, each retrieval is a `server_tool_call` and a
`server_tool_result`, and the answer is the one `text` block, with a citation for each passage.
Without one the content is a plain string.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from onegen_integrations.langchain.citations import Block, cite, to_output
from onegen_integrations.shared.repeated_calls import AnsweredCalls
from onegen_model import (
    Answer,
    AnswerText,
    Event,
    InvalidToolCall,
    Part,
    PartStream,
    PassagesInserted,
    RetrievalRequested,
    ScoredPassage,
    StepText,
    Template,
    Token,
    ToolCall,
    Usage,
    render_tool_call,
)

PROVIDER = "onegen"
RETRIEVE = "onegen_retrieve"
_OPEN, _, _CLOSE = render_tool_call(ToolCall("", {})).split("\n")


@dataclass(frozen=True, slots=True)
class ToolRules:
    """Rules for tool calls: `answered` calls and those beyond `max_calls` are dropped."""

    offers_tools: bool = False
    answered: AnsweredCalls = field(default_factory=AnsweredCalls)
    max_calls: int | None = None


class MessageStream:
    """Chunks of one turn. Without a `template` (under a grammar) there is no answer frame.

    `earlier` are the blocks of a turn that is being continued, `opening` its text since the last
    insertion.
    """

    def __init__(
        self,
        template: Template | None,
        *,
        plain: bool,
        tools: ToolRules = ToolRules(),
        earlier: Sequence[Block] = (),
        opening: str = "",
    ) -> None:
        self._plain = plain
        self._tools = tools
        self._parts = PartStream(
            template, "" if earlier else opening, with_tools=tools.offers_tools
        )
        if earlier:
            self._parts.feed(opening)  # Its text is in `earlier`.
        self._blocks: list[Block] = [dict(block, index=at) for at, block in enumerate(earlier)]
        self._num_retrievals = sum(block["type"] == "server_tool_call" for block in earlier)
        self._num_calls = 0
        self._num_repeated = 0
        self._has_ended = False
        self._is_bare = False
        self._content = ""
        # Start and end of the answer in a string, if it has a frame; blocks need none.
        self._frame: list[int] | None = [] if plain else None
        self._begun_before = self._parts.has_frame

    @property
    def only_repeats(self) -> bool:
        """Whether the turn so far has only steps and calls that were answered before."""
        parts = self._parts
        is_unanswered = not (parts.answer or self._num_calls)
        return bool(self._num_repeated) and is_unanswered

    def open(self) -> list[AIMessageChunk]:
        """Chunks from before the model writes; they keep a list of blocks a list."""
        return [] if self._plain else [AIMessageChunk(content=[dict(one) for one in self._blocks])]

    def feed(self, event: Event, *, error: str = "") -> list[AIMessageChunk]:
        """Chunks for any event but Finished. `error` is the reason of a failed retrieval."""
        match event:
            case Token():
                return self._show(self._parts.feed(event.text))
            case RetrievalRequested():
                chunks = self._show(self._parts.end_span())
                return [*chunks, self._block(self._call(event.text))]
            case PassagesInserted():
                return [self._block(self._result(event.passages, error))]
        return []

    def end_span(self) -> list[AIMessageChunk]:
        """Chunks of held text, at the end of the written text."""
        self._has_ended = True
        return self._show(self._parts.end_span())

    def resume(self, opening: str = "", *, is_written: bool = True) -> None:
        """The model continues the turn behind `opening`, which is not shown.

        With `is_written=False` the model has not read `opening`; it only marks the following text
        as the answer.
        """
        self._has_ended = False
        self._is_bare = not is_written
        self._parts.feed(opening)

    def close(self, answer: Answer, model_name: str) -> list[AIMessageChunk]:
        """The last chunks: citations, usage, and the ids that replay the turn exactly."""
        chunks = [] if self._has_ended else self.end_span()
        if not self._plain:
            chunks += self._end_text()
        replay: dict[str, Any] = {
            "written": [list(ids) for ids in answer.written],
            "frame": self._frame,
            # Finer than the usual one, whose "stop" may be an end or a stop string.
            "finish_reason": answer.finish_reason,
        }
        if self._frame:
            replay["digest"] = digest(self._content)
        last = AIMessageChunk(
            content="" if self._plain else [],
            usage_metadata=usage_metadata(answer.usage),
            response_metadata={
                "model_name": model_name,
                "model_provider": PROVIDER,
                "finish_reason": "stop" if answer.finish_reason == "end" else answer.finish_reason,
                "found": answer.found,
                "reason": answer.reason,
                "onegen": {**replay, "usage": _counters(answer.usage)},
            },
            chunk_position="last",
        )
        return [*chunks, last]

    def _show(self, parts: Sequence[Part]) -> list[AIMessageChunk]:
        return [chunk for part in parts if (chunk := self._show_one(part))]

    def _show_one(self, part: Part) -> AIMessageChunk | None:
        if isinstance(part, ToolCall | InvalidToolCall):
            return self._tool_call(part)
        return self._show_plain(part) if self._plain else self._show_block(part)

    def _show_plain(self, part: StepText | AnswerText) -> AIMessageChunk | None:
        text = part.text if self._content else part.text.lstrip()
        if not text:
            return None
        at, end = len(self._content), len(self._content) + len(text)
        if isinstance(part, AnswerText) and not self._begun_before:
            self._frame = [self._frame[0] if self._frame else at, end]
        self._content += text
        return AIMessageChunk(content=text)

    def _show_block(self, part: StepText | AnswerText) -> AIMessageChunk:
        kind = "text" if isinstance(part, AnswerText) else "reasoning"
        return self._grow(kind, part.text)

    def _grow(self, kind: str, text: str) -> AIMessageChunk:
        """Adds text to the last block if it is of this kind, else opens a block."""
        about: Block = {}
        if not self._blocks or self._blocks[-1]["type"] != kind:
            self._blocks.append({"type": kind, kind: "", "index": len(self._blocks)})
            if kind == "text" and self._is_bare:
                about = {"extras": {"bare": True}}
        block = self._blocks[-1]
        block[kind] += text
        shown = {"type": kind, kind: text, **about, "index": block["index"]}
        return AIMessageChunk(content=[shown])

    def _block(self, block: Block) -> AIMessageChunk:
        self._blocks.append({**block, "index": len(self._blocks)})
        return AIMessageChunk(content=[dict(self._blocks[-1])])

    def _call(self, query: str) -> Block:
        call_id = f"{PROVIDER}_{self._num_retrievals}"
        self._num_retrievals += 1
        args = {"queries": [query]}
        return {"type": "server_tool_call", "id": call_id, "name": RETRIEVE, "args": args}

    def _result(self, passages: Sequence[ScoredPassage], error: str) -> Block:
        return {
            "type": "server_tool_result",
            "tool_call_id": self._blocks[-1]["id"],
            "status": "error" if error else "success",
            "output": error or [to_output(one) for one in passages],
        }

    def _tool_call(self, call: ToolCall | InvalidToolCall) -> AIMessageChunk | None:
        if self._tools.answered.repeats(call):
            self._num_repeated += 1
            return None
        if self._num_calls == self._tools.max_calls:
            return None
        self._num_calls += 1
        if isinstance(call, ToolCall):
            name, args = call.name, json.dumps(call.arguments, ensure_ascii=False)
        else:
            # With tags: without them LangChain would repair the JSON, and the agent would run it.
            name, args = None, f"{_OPEN}\n{call.text}\n{_CLOSE}"
        chunk = tool_call_chunk(
            name=name, args=args, id=f"call_{uuid.uuid4().hex}", index=self._num_calls - 1
        )
        return AIMessageChunk(content="" if self._plain else [], tool_call_chunks=[chunk])

    def _end_text(self) -> list[AIMessageChunk]:
        """Without an answer frame the answer is what was written after the last insertion.

        Text that leads to a tool call is no answer.
        """
        chunks = []
        if (unframed := self._parts.unframed) and not self._num_calls:
            chunks.append(self._grow("text", unframed))
            repeats = {"type": "text", "text": "", "extras": {"repeats": "reasoning"}}
            chunks.append(AIMessageChunk(content=[{**repeats, "index": len(self._blocks) - 1}]))
        texts = [block for block in self._blocks if block["type"] == "text"]
        if texts and (citations := cite(texts[-1]["text"], self._blocks)):
            final = {"type": "text", "text": "", "annotations": citations}
            chunks.append(AIMessageChunk(content=[{**final, "index": texts[-1]["index"]}]))
        return chunks


def digest(text: str) -> str:
    """A short hash, which shows whether a text was edited."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def add_chunks(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """The sum of the chunks; without any, a message of no blocks."""
    return reduce(add, chunks, AIMessageChunk(content=[]))


def usage_metadata(usage: Usage) -> UsageMetadata:
    """Inserted passages count as input, and once more apart as `retrieved`."""
    read = usage.prompt + usage.inserted
    details = {"cache_read": usage.reused, "retrieved": usage.inserted}
    return UsageMetadata(
        input_tokens=read,
        output_tokens=usage.written,
        total_tokens=read + usage.written,
        input_token_details=InputTokenDetails(**details),  # type: ignore[typeddict-item]
    )


def _counters(usage: Usage) -> dict[str, int]:
    names = ("forwarded", "reused", "retrievals", "empty_retrievals")
    return {name: getattr(usage, name) for name in names}
