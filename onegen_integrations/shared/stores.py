"""What holds for vector stores through whichever framework they are searched."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from onegen_integrations.shared.models import SharedModel
from onegen_model.errors import InvalidInputError, PassageIndexError

OnError: TypeAlias = Literal["raise", "continue"]
ToCosine: TypeAlias = Callable[[float], float]

_COMPLEMENT, _SQUARED_L2 = (lambda distance: 1 - distance), (lambda distance: 1 - distance / 2)
_CHROMA_SPACES = {"cosine": _COMPLEMENT, "ip": _COMPLEMENT, "l2": _SQUARED_L2}

# By the numbers that METRIC_INNER_PRODUCT and METRIC_L2 of faiss have.
FAISS_METRICS: Mapping[int, ToCosine] = {0: float, 1: _SQUARED_L2}


def chroma_cosine(collection: Any) -> ToCosine | None:
    """What makes a cosine of a distance between unit vectors; None where that is not known."""
    # The collection knows; the store object may have been given another space, or none.
    configured = getattr(collection, "configuration_json", None) or {}
    index = configured.get("hnsw") or configured.get("spann") or {}
    space = index.get("space") or (collection.metadata or {}).get("hnsw:space") or "l2"
    return _CHROMA_SPACES.get(str(space))


def require_same_model(ours: SharedModel, theirs: SharedModel, holder: str) -> None:
    """Raises PassageIndexError unless `holder` embeds, by `theirs`, with the weights of `ours`."""
    # Equal handles are one model, which need not be loaded to be compared.
    if ours != theirs and ours.fingerprint != theirs.fingerprint:
        raise PassageIndexError(
            f"{holder} embeds with model {theirs.fingerprint[:12]}; expected "
            f"{ours.fingerprint[:12]}, the model that writes; give both the same `model`"
        )


def skips_errors(on_retrieval_error: object) -> bool:
    """Whether a store that raises is gone on without; raises InvalidInputError."""
    if on_retrieval_error not in get_args(OnError):
        raise InvalidInputError(
            f"on_retrieval_error={on_retrieval_error!r}; expected 'raise' or 'continue'; change it"
        )
    return on_retrieval_error == "continue"
