"""Checks of passages and vectors before they enter an index or a corpus."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.retrieval.corpus import passage_line

_NORM_TOLERANCE = 1e-2


def same_content(one: Passage, other: Passage) -> bool:
    """Whether two passages have the same title and text, and so the same vector."""
    return (one.title, one.text) == (other.title, other.text)


def by_id(passages: Iterable[Passage]) -> dict[str, Passage]:
    """Passages by their ids, in order; raises InvalidInputError with the id of a passage that
    cannot be saved, or whose id another passage has.
    """
    given: dict[str, Passage] = {}
    for at, passage in enumerate(passages):
        if not isinstance(passage, Passage):
            raise InvalidInputError(
                f"passages[{at}] is a {type(passage).__name__}; expected a Passage; wrap its text "
                "in Passage(id, text)"
            )
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


def require_text(passages: Iterable[Passage]) -> None:
    """Raise InvalidInputError with the id of a passage without text."""
    for passage in passages:
        if not passage.text.strip():
            raise InvalidInputError(
                f"Passage {passage.id!r} is empty; expected some text; leave it out"
            )


def _require_savable(passage: Passage) -> None:
    for name in ("text", "title"):
        if not isinstance(given := getattr(passage, name), str):
            raise InvalidInputError(
                f"Passage {passage.id!r} has a {name} of type {type(given).__name__}; expected "
                "str; convert it first"
            )
    if not isinstance(passage.metadata, dict):
        raise InvalidInputError(
            f"Passage {passage.id!r} has metadata of type {type(passage.metadata).__name__}; "
            "expected a dict; convert it first"
        )
    try:
        passage_line(passage)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"Passage {passage.id!r} cannot be saved ({error}); expected UTF-8 text, and metadata "
            "that JSON can hold; convert it first"
        ) from error


def unit_rows(
    vectors: ArrayLike, count: int, dimension: int, names: Sequence[str] = ()
) -> NDArray[np.float32]:
    """float32 (count, dimension); raises InvalidInputError, with the name of the first bad row
    where `names` are given.
    """
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
    elif not (finite := np.isfinite(rows).all(axis=1)).all():
        what = f"Vectors with NaN or infinite numbers{_whose(finite, names)}"
    elif not (fine := np.abs(np.linalg.norm(rows, axis=1) - 1) <= _NORM_TOLERANCE).all():
        what = f"Vectors that are not normalised{_whose(fine, names)}"
    if what:
        raise InvalidInputError(f"{what}; expected {expected}; embed them with the index's model")
    return np.ascontiguousarray(rows, dtype=np.float32)


def _whose(fine: NDArray[np.bool_], names: Sequence[str]) -> str:
    first = int(np.argmin(fine))
    return f" (passage {names[first]!r})" if names else ""
