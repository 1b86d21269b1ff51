"""`/tokenize` and `/detokenize`, in the shape of vLLM."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.routes.models import max_model_len
from onegen_integrations.server.serving import Serving, serving_of
from onegen_integrations.server.vectors.inputs import refuse
from onegen_model import Conversation, OneGenModel

router = APIRouter()

Shared = Annotated[Serving, Depends(serving_of)]

_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "add_special_tokens": ((False,), "the ids are those of plain text"),
    "add_generation_prompt": ((True,), "the prompt ends where the model writes on"),
    "chat_template": ((), "the checkpoint has its own"),
}


class TokenizeRequest(BaseModel):
    """Plain text, or the messages of a chat, which are counted as the chat's route reads them."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] = []
    return_token_strs: bool = False


class DetokenizeRequest(BaseModel):
    """Ids of the model's tokenizer."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0)]]


@router.post("/tokenize")
async def tokenize(asked: TokenizeRequest, serving: Shared) -> dict[str, Any]:
    """The tokens of a text. Of messages only their number is known."""
    refuse(asked.model_extra, _REFUSED)
    if (asked.prompt is None) == (asked.messages is None):
        raise ParameterError(
            "The request has both or none of prompt and messages; expected one of them; send one",
            param="prompt",
        )
    return await asyncio.to_thread(_tokenize, asked, serving.model(asked.model))


@router.post("/detokenize")
async def detokenize(asked: DetokenizeRequest, serving: Shared) -> dict[str, str]:
    """The text of tokens."""
    model = serving.model(asked.model)
    tokenizer = model.renderer.tokenizer
    if any(one >= len(tokenizer) for one in asked.tokens):
        raise ParameterError(
            f"tokens has an id of {max(asked.tokens)}; expected at most {len(tokenizer) - 1}; send "
            "ids of this model",
            param="tokens",
        )
    text = await asyncio.to_thread(
        tokenizer.decode, asked.tokens, clean_up_tokenization_spaces=False
    )
    return {"prompt": str(text)}


def _tokenize(asked: TokenizeRequest, model: OneGenModel) -> dict[str, Any]:
    longest = max_model_len(model)
    if asked.prompt is None:
        chat = Conversation.from_messages(asked.messages or [], asked.tools)
        return {"count": model.count_prompt(chat), "max_model_len": longest, "tokens": None}
    ids = model.token_ids(asked.prompt)
    reply = {"count": len(ids), "max_model_len": longest, "tokens": ids}
    if asked.return_token_strs:
        reply["token_strs"] = model.renderer.tokenizer.convert_ids_to_tokens(ids)
    return reply
