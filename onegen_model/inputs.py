"""Inputs of a request: control ids, its prompt, and passages to insert."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.events import ScoredPassage


@dataclass(frozen=True, slots=True)
class ControlIds:
    """Token ids with a meaning in the control flow. `masked` may never be written;
    `empty_frame` is inserted when nothing was found."""

    query: int
    end: frozenset[int]
    masked: frozenset[int] = frozenset()
    empty_frame: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """The start of a request.

    `forced` is written right behind `ids`. `passage_ids` name the passages that `ids` hold already.
    Where `ids` end with an unfinished answer, `retrievals` is the number that it has made. A nested
    request comes from a retriever that another request waits for.
    """

    ids: Sequence[int]
    question: str = ""
    forced: Sequence[int] = ()
    passage_ids: tuple[str, ...] = ()
    retrievals: int = 0
    is_nested: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A retrieved passage with the ids that are inserted for it, frame included."""

    scored: ScoredPassage
    ids: tuple[int, ...]
