"""`/v1/models`: what is served."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from onegen_integrations.server.serving import Serving, serving_of
from onegen_model import OneGenModel
from onegen_model.errors import CheckpointError

router = APIRouter()

Shared = Annotated[Serving, Depends(serving_of)]


@router.get("/v1/models")
def list_models(serving: Shared) -> dict[str, Any]:
    return {"object": "list", "data": [_model(name, serving) for name in serving.models]}


@router.get("/v1/models/{name:path}")
def show_model(name: str, serving: Shared) -> dict[str, Any]:
    serving.model(name)
    return _model(name, serving)


def _model(name: str, serving: Serving) -> dict[str, Any]:
    model = serving.model(name)
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "onegen",
        "max_model_len": max_model_len(model),
        "max_passage_tokens": model.max_passage_tokens,
        "dimensions": model.dimension,
        "links_entities": model.can_link,
    }


def max_model_len(model: OneGenModel) -> int:
    """The context; of a checkpoint that writes no answers the longest passage."""
    try:
        return model.max_context
    except CheckpointError:
        return model.max_passage_tokens
