"""Log-probabilities of written tokens, in OpenAI's form."""

from collections.abc import Iterable
from typing import Any

from onegen_model import OneGenModel, Token


def openai_tokens(tokens: Iterable[Token], model: OneGenModel) -> list[dict[str, Any]]:
    """Those of `tokens` that have log-probabilities and are no control tokens."""

    def told(token_id: int, logprob: float) -> dict[str, Any]:
        spelled = {"token": model.token_text(token_id), "bytes": [*model.token_bytes(token_id)]}
        return {**spelled, "logprob": logprob}

    return [
        {
            **told(token.token_id, token.logprob),
            "top_logprobs": [told(*one) for one in token.top_logprobs],
        }
        for token in tokens
        if token.logprob is not None and model.renderer.roles.is_text(token.token_id)
    ]
