"""`/v1/rerank` in the shape that Cohere and Jina share, and `/v1/score` in that of vLLM.

The score is (1 + cosine) / 2 of the query embedding and the passage embedding, so that documents
are in the order in which an index of them would find them. A later release may score by the
model's likelihood.
"""

import time
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.serving import Serving, serving_of
from onegen_integrations.server.vectors.embedding import EmbeddingCall
from onegen_integrations.server.vectors.inputs import read_documents, read_texts, refuse
from onegen_integrations.server.vectors.relevance import Relevance, find_relevance
from onegen_integrations.server.vectors.turns import Turns, embedding_turns
from onegen_model import Passage

router = APIRouter()

Shared = Annotated[Serving, Depends(serving_of)]
Queue = Annotated[Turns, Depends(embedding_turns)]

_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "top_k": ((), "use top_n"),
    "rank_fields": ((["text"],), 'send {"text": …, "title": …}'),
    "relevant_spans": ((False,), "read the documents"),
    "return_embeddings": ((False,), "use /v1/embeddings"),
    "truncate_prompt_tokens": ((), "long documents are scored by their best part"),
}


class RerankRequest(BaseModel):
    """A query and documents: texts, or mappings with a text and perhaps a title.

    Limits of tokens or chunks per document are ignored: every document is read as a whole.
    """

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    query: str
    documents: list[Any]
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False


class ScoreRequest(BaseModel):
    """One text and one or many others, or as many on both sides."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    text_1: Any = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: Any = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))


@router.post("/v1/rerank")
@router.post("/v2/rerank")
@router.post("/rerank")
async def rerank(
    asked: RerankRequest, request: Request, serving: Shared, turns: Queue
) -> dict[str, Any]:
    """The documents that fit a query best, with scores from 0 to 1; equal ones keep their order."""
    refuse(asked.model_extra, _REFUSED)
    call = EmbeddingCall(serving.model(asked.model), turns, request)
    (query,) = read_texts(asked.query, "query")
    documents = read_documents(asked.documents, "documents")
    with turns.admitted():
        found = await find_relevance(call, [(query, one) for one in documents])
    best = sorted(range(len(documents)), key=lambda at: -found.scores[at])[: asked.top_n]
    return {
        "id": f"rerank-{uuid4().hex}",
        "object": "list",
        "model": asked.model or serving.default_model,
        "results": [_result(at, found, documents, asked) for at in best],
        "usage": _usage(found),
        "meta": {"api_version": {"version": "2"}, "tokens": {"input_tokens": found.tokens}},
    }


@router.post("/v1/score")
@router.post("/score")
async def score(
    asked: ScoreRequest, request: Request, serving: Shared, turns: Queue
) -> dict[str, Any]:
    """How well each pair of texts fits, from 0 to 1. The first of a pair is read as a query."""
    refuse(asked.model_extra, _REFUSED)
    call = EmbeddingCall(serving.model(asked.model), turns, request)
    queries, documents = read_texts(asked.text_1, "text_1"), read_documents(asked.text_2, "text_2")
    if len(queries) == 1:
        queries = queries * len(documents)
    if len(queries) != len(documents):
        raise ParameterError(
            f"text_1 has {len(queries)} texts and text_2 {len(documents)}; expected one, or as "
            "many; send several requests",
            param="text_1",
        )
    with turns.admitted():
        found = await find_relevance(call, list(zip(queries, documents, strict=True)))
    return {
        "id": f"score-{uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": asked.model or serving.default_model,
        "data": [
            {"index": at, "object": "score", "score": one} for at, one in enumerate(found.scores)
        ],
        "usage": _usage(found),
    }


def _result(
    at: int, found: Relevance, documents: list[Passage], asked: RerankRequest
) -> dict[str, Any]:
    result: dict[str, Any] = {"index": at, "relevance_score": found.scores[at]}
    if asked.return_documents:
        one = documents[at]
        result["document"] = {"text": one.text} | ({"title": one.title} if one.title else {})
    return result


def _usage(found: Relevance) -> dict[str, int]:
    return {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
