"""One answer as a choice of a chat completion: its deltas while it streams, and its message.

What plain clients do not know is in extra fields: `reasoning_content`, and `onegen`, which holds
the retrievals. Entries of lists have an `index`, by which OpenAI's client adds deltas up.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onegen_integrations.server.answering import (
    AnswerEnded,
    AnswerPiece,
    CitedSpan,
    ReasoningPiece,
    SearchEnded,
    TextPiece,
)
from onegen_integrations.server.documents import document_title, document_url, hit
from onegen_integrations.shared.token_logprobs import openai_tokens
from onegen_model import InvalidToolCall, OneGenModel, Token, ToolCall, Usage

Plain = dict[str, Any]


@dataclass(slots=True)
class Choice:
    """Feed every piece of a turn; `base` begins the addresses of passages.

    With `scored_by`, the model, it has the log-probabilities of the tokens of its text.
    """

    index: int
    base: str
    scored_by: OneGenModel | None = None
    logprobs: list[Plain] = field(init=False, default_factory=list)
    text: str = field(init=False, default="")
    reasoning: str = field(init=False, default="")
    retrievals: list[Plain] = field(init=False, default_factory=list)
    annotations: list[Plain] = field(init=False, default_factory=list)
    calls: list[Plain] = field(init=False, default_factory=list)
    finish_reason: str | None = field(init=False, default=None)
    usage: Usage = field(init=False, default_factory=Usage)
    _invalid: str = field(init=False, default="")
    _hops: dict[str, int] = field(init=False, default_factory=dict)

    def open(self) -> Plain:
        """The first delta."""
        return self._chunk({"role": "assistant", "content": ""})

    def feed(self, piece: AnswerPiece) -> list[Plain]:
        """The choices of chunks for a piece."""
        match piece:
            case TextPiece():
                return [self._write(piece.text, piece.tokens)]
            case ReasoningPiece():
                self.reasoning += piece.text
                return [self._chunk({"reasoning_content": piece.text})]
            case SearchEnded():
                return [self._chunk({"onegen": {"retrievals": [self._retrieval(piece)]}})]
            case ToolCall():
                return [self._chunk({"tool_calls": [self._call(piece)]})]
            case InvalidToolCall():
                self._invalid += piece.text
            case CitedSpan():
                self.annotations.append(self._annotation(piece))
            case AnswerEnded():
                return self._end(piece)
        return []

    @property
    def whole(self) -> Plain:
        """The choice of a completion that does not stream."""
        calls = [{key: call[key] for key in call if key != "index"} for call in self.calls]
        message = {
            "role": "assistant",
            "content": self.text if self.text or not calls else None,
            "refusal": None,
            "annotations": self.annotations,
            **({"tool_calls": calls} if calls else {}),
            **({"reasoning_content": self.reasoning} if self.reasoning else {}),
            **({"onegen": {"retrievals": self.retrievals}} if self.retrievals else {}),
        }
        logprobs = self._told(self.logprobs)
        shown = {"index": self.index, "message": message, "logprobs": logprobs}
        return {**shown, "finish_reason": self.finish_reason}

    def _chunk(self, delta: Plain) -> Plain:
        return {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _write(self, text: str, tokens: Sequence[Token] = ()) -> Plain:
        self.text += text
        scored = openai_tokens(tokens, self.scored_by) if self.scored_by else []
        self.logprobs += scored
        return {**self._chunk({"content": text}), "logprobs": self._told(scored)}

    def _told(self, logprobs: list[Plain]) -> Plain | None:
        return {"content": logprobs, "refusal": None} if self.scored_by else None

    def _retrieval(self, search: SearchEnded) -> Plain:
        for found in search.passages:
            self._hops.setdefault(found.passage.id, search.hop)
        retrieval = {
            "index": len(self.retrievals),
            "hop": search.hop,
            "query": search.query,
            "passages": [hit(found, self.base) for found in search.passages],
            **({"reason": search.reason} if search.reason else {}),
        }
        self.retrievals.append(retrieval)
        return retrieval

    def _call(self, call: ToolCall) -> Plain:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        shown = {
            "index": len(self.calls),
            "id": f"call_{uuid.uuid4().hex}",
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }
        self.calls.append(shown)
        return shown

    def _annotation(self, span: CitedSpan) -> Plain:
        passage_id = span.citation.passage_id
        citation = {
            "start_index": span.start,
            "end_index": span.end,
            "title": document_title(span.citation),
            "url": document_url(self.base, passage_id),
            "document_id": passage_id,
            "score": span.citation.score,
            "hop": self._hops.get(passage_id, 0),
            **({"cited_text": span.text} if span.text else {}),
        }
        at = len(self.annotations)
        return {"type": "url_citation", "url_citation": citation, "index": at}

    def _end(self, end: AnswerEnded) -> list[Plain]:
        chunks = []
        if self.annotations:
            chunks.append(self._chunk({"content": "", "annotations": self.annotations}))
        if self._invalid:  # Behind the answer, whose citations count its characters.
            chunks.append(self._write(self._invalid))
        self.usage, self.finish_reason = end.usage, self._reason(end.reason)
        return [*chunks, {**self._chunk({}), "finish_reason": self.finish_reason}]

    def _reason(self, reason: str) -> str:
        if reason == "length":
            return "length"
        return "tool_calls" if self.calls else "stop"


def usage_of(choices: list[Choice]) -> Plain:
    """What all choices have read and written; inserted passages count as read."""
    usages = [choice.usage for choice in choices]
    inserted, written = sum(one.inserted for one in usages), sum(one.written for one in usages)
    read = inserted + sum(one.prompt for one in usages)
    names = ("forwarded", "retrievals", "empty_retrievals")
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {
            "cached_tokens": sum(one.reused for one in usages),
            "retrieved_tokens": inserted,
        },
        "onegen": {name: sum(getattr(one, name) for one in usages) for name in names},
    }
