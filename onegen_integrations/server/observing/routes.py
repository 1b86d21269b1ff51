"""`/health`, `/ready` and `/metrics`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from onegen_integrations.server.serving import Serving, serving_of

router = APIRouter()

Shared = Annotated[Serving, Depends(serving_of)]


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(serving: Shared) -> dict[str, Any]:
    """Requests are answered; see what is served."""
    return readiness(serving)


@router.get("/metrics")
def metrics(serving: Shared) -> Response:
    """Numbers for Prometheus."""
    return Response(serving.observer.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def readiness(serving: Serving) -> dict[str, Any]:
    """What is served; nothing that only the holder of a key may know."""
    index, entities = serving.index, serving.entities
    return {
        "status": "ready",
        "models": list(serving.models),
        "index": None if index is None else {"passages": len(index)},
        "entities": None if entities is None else {"passages": len(entities)},
        "storage": serving.settings.storage is not None,
        "summary": summary(serving),
    }


def summary(serving: Serving) -> str:
    """The same in a line."""
    parts = [", ".join(serving.models)]
    if serving.index is None:
        parts.append("no index: plain chat")
    else:
        count = len(serving.index)
        parts.append(f"index of {count:,} passage{'' if count == 1 else 's'}")
    if serving.entities is not None:
        parts.append(f"{len(serving.entities):,} entities")
    parts.append("files are kept" if serving.settings.storage else "no files")
    return "; ".join(parts)
