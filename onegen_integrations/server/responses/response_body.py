"""The object of a response, at any time of its making."""

import time
from dataclasses import dataclass, field
from typing import Any

from onegen_integrations.server.errors import Failure
from onegen_integrations.server.responses.items import Plain, new_id
from onegen_integrations.server.responses.output_items import OutputItems
from onegen_integrations.server.responses.response_request import ResponseRequest
from onegen_integrations.server.serving import Serving
from onegen_model import OneGenModel, SamplingParams

# Status on the wire -> the code by which OpenAI's clients know the reason; any other: server_error.
_CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}


@dataclass(slots=True)
class ResponseBody:
    """What was asked, and `output`, which grows."""

    asked: ResponseRequest
    sampling: SamplingParams
    model: OneGenModel
    name: str
    output: OutputItems
    is_kept: bool = True
    id: str = field(default_factory=lambda: new_id("resp"))
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, asked: ResponseRequest, serving: Serving, output: OutputItems) -> "ResponseBody":
        """The response to a request, before anything is written."""
        name = asked.model or serving.default_model
        model, sampling = serving.model(asked.model), serving.settings.sampling
        return cls(asked, sampling, model, name, output, asked.is_kept)

    def in_progress(self) -> Plain:
        """The response while it is written."""
        return self._plain("in_progress", [])

    def ended(self, *, with_results: bool | None = None) -> Plain:
        """The whole response; `with_results` as it is kept, else as the request wants it."""
        items = self.output.items if with_results else self.output.shown()
        status = "incomplete" if self.output.is_cut else "completed"
        reason = {"reason": "max_output_tokens"} if self.output.is_cut else None
        ended = None if self.output.is_cut else int(time.time())
        more = {"incomplete_details": reason, "completed_at": ended, "usage": self._usage()}
        return self._plain(status, items, **more)

    def failed(self, failure: Failure) -> Plain:
        """The response that an error has ended."""
        code = _CODES.get(failure.status, "server_error")
        error = {"code": code, "message": failure.message}
        return self._plain("failed", self.output.shown(), error=error)

    def _plain(self, status: str, output: list[Plain], **more: Any) -> Plain:
        asked, usual = self.asked, self.sampling
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "metadata": asked.metadata or {},
            "model": self.name,
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "reasoning": {"effort": None, "summary": None},
            "store": self.is_kept,
            "temperature": usual.temperature if asked.temperature is None else asked.temperature,
            "text": {"format": {"type": "text"}, **(asked.text or {})},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": usual.top_p if asked.top_p is None else asked.top_p,
            "truncation": "disabled",
            "usage": None,
            **more,
        }

    def _usage(self) -> Plain:
        """What was read and written; inserted passages count as read."""
        usage = self.output.usage
        read, names = usage.prompt + usage.inserted, ("forwarded", "retrievals", "empty_retrievals")
        return {
            "input_tokens": read,
            "input_tokens_details": {
                "cached_tokens": usage.reused,
                "cache_write_tokens": max(0, read - usage.reused),
                "retrieved_tokens": usage.inserted,
            },
            "output_tokens": usage.written,
            "output_tokens_details": {
                "reasoning_tokens": self.output.count_reasoning(self.model.count_tokens)
            },
            "total_tokens": read + usage.written,
            "onegen": {name: getattr(usage, name) for name in names},
        }
