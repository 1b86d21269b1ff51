"""The body of a chat request, as OpenAI's clients send it, with the fields of this server.

Unknown fields are ignored. Those that would change what the caller gets, if they were not, are
refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from onegen_integrations.server.errors import ParameterError

Text = Annotated[str, Field(min_length=1)]

# Parameter -> the values that ask for nothing.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "functions": ([],),
    "function_call": (),
    "audio": (),
    "modalities": (["text"], []),
    "web_search_options": (),
    "moderation": (),
    "min_p": (0,),
}


class StreamOptions(BaseModel):
    """`include_usage`: one more chunk at the end, with the usage."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class Retrieval(BaseModel):
    """This server's own field `retrieval`: when, how much and where the answer searches."""

    model_config = ConfigDict(strict=True, extra="forbid")

    mode: Literal["auto", "always", "never"] | None = None
    top_k: int | None = Field(default=None, ge=1)
    max_retrievals: int | None = Field(default=None, ge=0)
    min_score: float | None = Field(default=None, allow_inf_nan=False)
    filter: dict[str, Any] | None = None
    vector_store_ids: list[str] | None = None


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`. What is left open is the choice of the operator."""

    model_config = ConfigDict(strict=True, extra="allow")

    messages: list[dict[str, Any]]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    repetition_penalty: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: list[Text] | None = Field(default=None, max_length=16)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = Field(default=None, ge=1, le=128)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    retrieval: Retrieval | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, stop: object) -> object:
        return [stop] if isinstance(stop, str) else stop

    @property
    def count(self) -> int:
        """The number of answers."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def num_logprobs(self) -> int | None:
        """How many log-probabilities each token has beside its own; None for not even that."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def require_supported(self) -> None:
        """Raise ParameterError for a parameter that this server cannot follow."""
        if self.top_logprobs is not None and not self.logprobs:
            raise ParameterError(
                f"top_logprobs={self.top_logprobs} without logprobs; expected logprobs=true beside "
                "it; set it",
                param="top_logprobs",
            )
        given = self.model_extra or {}
        for name, harmless in _REFUSED.items():
            value = given.get(name)
            if value is None or any(value == one for one in harmless):
                continue
            raise ParameterError(
                f"{name} is not supported; expected it absent; leave it out",
                param=name,
                code="unsupported_parameter",
            )
