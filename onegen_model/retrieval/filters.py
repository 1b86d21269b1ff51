"""What may enter a passage index, and which passages a filter lets through."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.retrieval.index_files import passage_line

_NORM_TOLERANCE = 1e-2


def same_content(one: Passage, other: Passage) -> bool:
    return (one.title, one.text) == (other.title, other.text)


def matches(passage: Passage, filter: Mapping[str, Any]) -> bool:
    for name, wanted in filter.items():
        if name not in passage.metadata:
            return False
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,)
        if not _is_among(passage.metadata[name], values):
            return False
    return True


def _is_among(value: object, values: Collection[Any]) -> bool:
    try:
        return value in values
    except TypeError:  # `values` is a set, and a list is never in one
        return False


def filter_key(filter: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(filter or {}), sort_keys=True, default=repr)


def by_id(passages: Iterable[Passage]) -> dict[str, Passage]:
    given: dict[str, Passage] = {}
    for passage in passages:
        if not isinstance(passage.id, str) or not passage.id:
            raise InvalidInputError(
                f"A passage has the id {passage.id!r}; expected text that is not empty; name it"
            )
        known = given.setdefault(passage.id, passage)
        if known is passage:
            _require_savable(passage)
        elif known != passage:
            raise InvalidInputError(
                f"Two passages have the id {passage.id!r}; expected one of each; rename one"
            )
    return given


def _require_savable(passage: Passage) -> None:
    try:
        passage_line(passage)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Passage {passage.id!r} cannot be saved ({error}); expected UTF-8 text, and metadata "
            "that JSON can hold; convert it first"
        ) from error


def unit_rows(vectors: ArrayLike, count: int, dimension: int) -> NDArray[np.float32]:
    expected = f"float32 unit vectors of shape ({count}, {dimension})"
    try:
        rows = np.asarray(vectors)
    except ValueError as error:
        raise InvalidInputError(
            f"Vectors of different lengths; expected {expected}; embed them with one model"
        ) from error
    if count == 0 and rows.size == 0:
        return np.zeros((0, dimension), dtype=np.float32)
    what = ""
    if rows.dtype not in (np.float32, np.float64):
        what = f"Vectors of type {rows.dtype}"
    elif rows.shape != (count, dimension):
        what = f"Vectors of shape {rows.shape}"
    elif not np.isfinite(rows).all():
        what = "Vectors with NaN or infinite numbers"
    elif np.abs(np.linalg.norm(rows, axis=1) - 1).max() > _NORM_TOLERANCE:
        what = "Vectors that are not normalised"
    if what:
        raise InvalidInputError(f"{what}; expected {expected}; embed them with the index's model")
    return np.ascontiguousarray(rows, dtype=np.float32)
