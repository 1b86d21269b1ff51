"""Rules for vector stores that do not depend on the framework which searches them."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from onegen_integrations.shared.models import SharedModel
from onegen_model.errors import InvalidInputError, PassageIndexError

OnError: TypeAlias = Literal["raise", "continue"]
ToCosine: TypeAlias = Callable[[float], float]

_COMPLEMENT, _SQUARED_L2 = (lambda distance: 1 - distance), (lambda distance: 1 - distance / 2)
_CHROMA_SPACES = {"cosine": _COMPLEMENT, "ip": _COMPLEMENT, "l2": _SQUARED_L2}

# Keys are METRIC_INNER_PRODUCT and METRIC_L2 of faiss.
FAISS_METRICS: Mapping[int, ToCosine] = {0: float, 1: _SQUARED_L2}


def chroma_cosine(collection: Any) -> ToCosine | None:
    """The function from a distance between unit vectors to their cosine; None if not known."""
    # Read from the collection, because the store object may name another space, or none.
    configured = getattr(collection, "configuration_json", None) or {}
    index = configured.get("hnsw") or configured.get("spann") or {}
    space = index.get("space") or (collection.metadata or {}).get("hnsw:space") or "l2"
    return _CHROMA_SPACES.get(str(space))


def require_same_model(ours: SharedModel, theirs: SharedModel, holder: str) -> None:
    """Raises PassageIndexError where `holder` embeds with `theirs`, another model than `ours`."""
    # Equal handles are one model, and comparing them does not load it.
    if ours != theirs and ours.fingerprint != theirs.fingerprint:
        raise PassageIndexError(
            f"{holder} embeds with model {theirs.fingerprint[:12]}; expected "
            f"{ours.fingerprint[:12]}, the model that searches it; give both the same `model`"
        )


def skips_errors(on_retrieval_error: object) -> bool:
    """Whether an answer continues without passages when a store raises.

    Raises InvalidInputError for any other value than those of `OnError`.
    """
    if on_retrieval_error not in get_args(OnError):
        raise InvalidInputError(
            f"on_retrieval_error={on_retrieval_error!r}; expected 'raise' or 'continue'; change it"
        )
    return on_retrieval_error == "continue"
