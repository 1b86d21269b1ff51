"""Routes that write no answer: embeddings, ranking, scores, entity links and tokens."""

from fastapi import APIRouter

from onegen_integrations.server.vectors import embeddings, linking, ranking, tokens

router = APIRouter()
for one in (embeddings, ranking, linking, tokens):
    router.include_router(one.router)

__all__ = ["router"]
