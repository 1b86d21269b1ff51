"""The body of a request for a response, as OpenAI's clients send it.

Parameters that this server cannot follow are refused by name; those that change nothing, such as
`user`, `service_tier` and `reasoning`, are ignored.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onegen_integrations.server.stores.requests import Metadata
from onegen_integrations.server.vectors.inputs import refuse

RESULTS = "file_search_call.results"

Include = Literal[
    "file_search_call.results",
    # What follows is about things that no answer of this server has.
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
]

_OF_CHAT = "it is a parameter of /v1/chat/completions"
# Parameter -> the values that ask for nothing, and what to do about others.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "background": ((False,), "wait for the answer, or stream it"),
    "conversation": ((), "continue a response by previous_response_id"),
    "prompt": ((), "send its text as instructions and input"),
    "context_management": (([],), "shorten the input"),
    "truncation": (("disabled",), "shorten the input"),
    "top_logprobs": ((0,), "the server returns no probabilities"),
    "moderation": ((), "the server moderates nothing"),
    "messages": ((), "send them as input"),
    "max_tokens": ((), "use max_output_tokens"),
    "max_completion_tokens": ((), "use max_output_tokens"),
    "response_format": ((), "use text.format"),
    "stop": (([],), _OF_CHAT),
    "seed": ((), _OF_CHAT),
    "n": ((1,), _OF_CHAT),
    "logprobs": ((False,), _OF_CHAT),
    "logit_bias": (({},), "it is not supported"),
    "frequency_penalty": ((0,), "it is not supported"),
    "presence_penalty": ((0,), "it is not supported"),
}


class ResponseRequest(BaseModel):
    """`POST /v1/responses`. What is left open is the choice of the operator."""

    model_config = ConfigDict(strict=True, extra="allow")

    input: Any = None
    model: str | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = Field(default=None, ge=1)
    text: dict[str, Any] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    previous_response_id: str | None = None
    include: list[Include] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the response can be asked for, and continued, by its id."""
        return self.store is not False

    @property
    def shows_results(self) -> bool:
        """Whether calls of `file_search` show what they found."""
        return RESULTS in (self.include or ())

    def require_supported(self) -> None:
        """Raise ParameterError for a parameter that this server cannot follow."""
        refuse(self.model_extra, _REFUSED)
