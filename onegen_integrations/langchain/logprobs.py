"""Log-probabilities of written tokens, asked for and told as langchain-openai does."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from onegen_integrations.shared.token_logprobs import openai_tokens
from onegen_model import OneGenModel, Token
from onegen_model.errors import InvalidInputError


class LogprobFields(BaseModel):
    """`logprobs=True` puts the log-probability of every written token into
    `response_metadata["logprobs"]`, in the form of langchain-openai: those of the steps and of the
    markup too, and of no control token. `top_logprobs`, from 0 to 20, is the number of the most
    probable tokens that are named for each.
    """

    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def scored(self) -> dict[str, Any]:
        """The fields that are set."""
        fields = {"logprobs": self.logprobs, "top_logprobs": self.top_logprobs}
        return {name: value for name, value in fields.items() if value is not None}

    def num_logprobs(self, called: Mapping[str, Any]) -> int | None:
        """`SamplingParams.logprobs` of one call, whose options override the fields.

        Raises InvalidInputError for `top_logprobs` alone.
        """
        asked = called.get("logprobs", self.logprobs)
        count: int | None = called.get("top_logprobs", self.top_logprobs)
        if asked:
            return count or 0
        if count is None:
            return None
        raise InvalidInputError(
            f"top_logprobs={count} with logprobs={asked}; expected logprobs=True beside it; set it"
        )


def openai_logprobs(tokens: Sequence[Token], model: OneGenModel) -> dict[str, Any]:
    """What `response_metadata["logprobs"]` holds."""
    return {"content": openai_tokens(tokens, model), "refusal": None}
