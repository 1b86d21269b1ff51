"""`/v1/embeddings`, as OpenAI has it, for queries and for passages.

A model embeds a query otherwise than a passage. `input_type` says which it is, or the end of the
model's name: `onegen:query`, `onegen:passage`, for clients that send no further fields.
"""

import asyncio
from base64 import b64encode
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.serving import Serving, serving_of
from onegen_integrations.server.vectors.embedding import EmbeddingCall, Vectors
from onegen_integrations.server.vectors.inputs import TOKEN_IDS, has_token_ids, read_texts, refuse
from onegen_integrations.server.vectors.turns import Turns, embedding_turns
from onegen_model import OneGenModel, Passage

router = APIRouter()

Kind = Literal["query", "passage"]

# The names of Cohere and Voyage beside our own.
_KINDS: dict[str, Kind] = {
    "query": "query",
    "search_query": "query",
    "passage": "passage",
    "document": "passage",
    "search_document": "passage",
}
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "truncate": (("NONE", False), "split long texts"),
    "truncation": ((False,), "split long texts"),
    "truncate_prompt_tokens": ((), "split long texts"),
    "normalize": ((True,), "every embedding has length 1"),
    "embedding_types": ((["float"],), "use encoding_format"),
    "output_dtype": (("float",), "use encoding_format"),
    "output_dimension": ((), "use dimensions"),
}


class EmbeddingsRequest(BaseModel):
    """OpenAI's request, and `input_type`: "query" or "passage", which is the default."""

    model_config = ConfigDict(extra="allow")

    input: Any = Field(description="a text, or a list of texts")
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: (
        Literal["query", "search_query", "passage", "document", "search_document"] | None
    ) = None


@router.post("/v1/embeddings")
async def create_embeddings(
    asked: EmbeddingsRequest,
    request: Request,
    serving: Annotated[Serving, Depends(serving_of)],
    turns: Annotated[Turns, Depends(embedding_turns)],
) -> JSONResponse:
    """Embed texts as passages, or as queries. Each has length 1, so that the inner product of a
    query and a passage is their cosine."""
    refuse(asked.model_extra, _REFUSED)
    model, kind = choose_model(serving, asked.model, asked.input_type)
    _require_dimensions(asked.dimensions, model)
    if has_token_ids(asked.input):
        raise ParameterError(TOKEN_IDS, param="input", code="token_ids")
    texts = read_texts(asked.input, "input")
    call = EmbeddingCall(model, turns, request)
    with turns.admitted():
        if kind == "query":
            tokens = await asyncio.to_thread(lambda: sum(map(model.count_tokens, texts)))
            vectors = await call.queries(texts, "input")
        else:
            tokens = await asyncio.to_thread(_count, model, texts)
            passages = [Passage(f"input[{at}]", text) for at, text in enumerate(texts)]
            vectors = await call.passages(passages, "input")
        return await asyncio.to_thread(
            _reply, asked, asked.model or serving.default_model, vectors, tokens
        )


def choose_model(
    serving: Serving, name: str | None, input_type: str | None
) -> tuple[OneGenModel, Kind]:
    """The model of a name, and what it embeds; raises NotFoundError and ParameterError."""
    chosen = _KINDS[input_type] if input_type else None
    named: Kind | None = None
    if name is not None and name not in serving.models:
        base, _, suffix = name.rpartition(":")
        if base in serving.models and suffix in ("query", "passage"):
            name, named = base, _KINDS[suffix]
    if named and chosen and named != chosen:
        raise ParameterError(
            f"input_type is a {chosen}, but the model's name ends with :{named}; expected one of "
            "them, or the same; leave input_type out",
            param="input_type",
        )
    return serving.model(name), named or chosen or "passage"


def _require_dimensions(asked: int | None, model: OneGenModel) -> None:
    if asked is not None and asked != model.dimension:
        raise ParameterError(
            f"dimensions={asked}; expected {model.dimension}, because the model was not trained "
            "for shorter embeddings; leave dimensions out",
            param="dimensions",
        )


def _count(model: OneGenModel, texts: list[str]) -> int:
    """The tokens of passages; a text that is too long is refused before any is embedded."""
    counts = list(map(model.count_tokens, texts))
    longest = max(range(len(texts)), key=counts.__getitem__)
    if counts[longest] > model.max_passage_tokens:
        raise ParameterError(
            f"input[{longest}] has {counts[longest]} tokens; expected at most "
            f"{model.max_passage_tokens}; split it into shorter texts",
            param="input",
            code="context_length_exceeded",
        )
    return sum(counts)


def _reply(asked: EmbeddingsRequest, name: str, vectors: Vectors, tokens: int) -> JSONResponse:
    is_base64 = asked.encoding_format == "base64"
    little = vectors.astype("<f4")
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": b64encode(row.tobytes()).decode() if is_base64 else row.tolist(),
        }
        for at, row in enumerate(little)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "model": name, "data": data, "usage": usage})
