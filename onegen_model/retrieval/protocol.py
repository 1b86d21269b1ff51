"""The protocol of a retriever, and checks of what it returns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from numbers import Real
from typing import Protocol, runtime_checkable

from onegen_model.errors import InvalidInputError, RetrievalError
from onegen_model.events import Passage, Query, ScoredPassage


@runtime_checkable
class Retriever(Protocol):
    """Finds passages, best first; called from several threads at once."""

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """One list per query, in order, of at most `top_k` passages outside `exclude`."""
        ...


@runtime_checkable
class AsyncRetriever(Protocol):
    """The twin for event loops; an object may implement both."""

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """One list per query, in order, of at most `top_k` passages outside `exclude`."""
        ...


class FailedSearch(list[ScoredPassage]):
    """The answer to a query whose search failed, where the request shall go on without passages.

    `reason` becomes part of the answer's. An error that is raised ends the request instead.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


AnyRetriever = Retriever | AsyncRetriever


@runtime_checkable
class NeighbourRetriever(Protocol):
    """A retriever, of either kind, that knows what stands around a passage in its document."""

    def neighbours(self, passage: Passage, window: int, query: Query) -> Sequence[Passage]:
        """The passage between at most `window` neighbours on each side, in order and without a gap.

        All of them pass the filter of `query`. Called from any thread.
        """
        ...


_is_retrieving = ContextVar("onegen_is_retrieving", default=False)


@contextmanager
def retrieving() -> Iterator[None]:
    """Mark the caller as a retriever at work.

    Requests that it makes of the same model wait for no slot, because the requests that wait for it
    may hold all of them. The core marks each call of a retriever; a retriever needs this only
    around work that it does under context variables of its own.
    """
    token = _is_retrieving.set(True)
    try:
        yield
    finally:
        _is_retrieving.reset(token)


def is_retrieving() -> bool:
    """Whether a retriever is at work in this context."""
    return _is_retrieving.get()


def require_retriever(retriever: object, *, in_threads: bool = False, window: int = 0) -> None:
    """Raise InvalidInputError unless `retriever` can be asked (without an event loop), and, where
    there is a window, for neighbours too.
    """
    if isinstance(retriever, Retriever) or (
        not in_threads and isinstance(retriever, AsyncRetriever)
    ):
        return _require_neighbours(retriever, window)
    name = type(retriever).__name__
    if in_threads and isinstance(retriever, AsyncRetriever):
        raise InvalidInputError(
            f"{name} has only `aretrieve`; expected `retrieve` in synchronous use; give it one, "
            "or use the async twin"
        )
    raise InvalidInputError(
        f"{name} is not a retriever; expected a method `retrieve` or `aretrieve`; wrap it in one"
    )


def _require_neighbours(retriever: object, window: int) -> None:
    if window and not isinstance(retriever, NeighbourRetriever):
        raise InvalidInputError(
            f"window={window} with {type(retriever).__name__}, which has no method `neighbours`; "
            "expected a retriever that finds what stands around a passage, such as PassageIndex; "
            "leave the window out, or give it that method"
        )


def retriever_error(retriever: object, cause: BaseException) -> RetrievalError:
    """The error of a retriever that raised `cause`."""
    return RetrievalError(
        f"{type(retriever).__name__} raised {type(cause).__name__}: {cause}; expected passages; "
        "see the cause"
    )


def check_answers(answers: object, queries: Sequence[Query], retriever: object) -> list[object]:
    """The answers as a list as long as `queries`; raises RetrievalError."""
    found = _as_list(answers)
    if found is None or len(found) != len(queries):
        got = type(answers).__name__ if found is None else f"{len(found)} lists"
        raise RetrievalError(
            f"{type(retriever).__name__} answered {len(queries)} queries with {got}; expected a "
            "list of passages for each query; return an empty list where nothing is found"
        )
    return found


def select_passages(
    answer: object, query: Query, retriever: object, min_score: float | None = None
) -> list[ScoredPassage]:
    """What of one answer is inserted: nothing twice or below `min_score`, at most `top_k`.

    Raises RetrievalError for what is no list of ScoredPassage.
    """
    found = _as_list(answer)
    odd = [answer] if found is None else [i for i in found if not isinstance(i, ScoredPassage)]
    if odd:
        raise RetrievalError(
            f"{type(retriever).__name__} answered a query with {type(odd[0]).__name__}; expected "
            "a list of ScoredPassage; wrap what it finds in ScoredPassage(Passage(id, text), score)"
        )
    hits = [_checked(hit, retriever) for hit in found or () if isinstance(hit, ScoredPassage)]
    seen = set(query.exclude)
    fresh: list[ScoredPassage] = []
    for hit in hits:
        if (min_score is None or hit.score >= min_score) and hit.passage.id not in seen:
            seen.add(hit.passage.id)
            fresh.append(hit)
    return fresh[: query.top_k]


def _checked(hit: ScoredPassage, retriever: object) -> ScoredPassage:
    """The hit, whose score is a float; raises RetrievalError for fields of a wrong type."""
    passage: object = hit.passage
    wrong: tuple[str, object, str] | None = None
    if not isinstance(passage, Passage):
        wrong = ("a passage", passage, "Passage(id, text)")
    elif not isinstance(passage.text, str):
        wrong = (f"the text of passage {passage.id!r}", passage.text, "str")
    elif not isinstance(passage.metadata, Mapping):
        wrong = (f"the metadata of passage {passage.id!r}", passage.metadata, "a dict")
    elif not isinstance(hit.score, Real):
        wrong = (f"the score of passage {passage.id!r}", hit.score, "a number, 0.0 if unknown")
    if wrong is not None:
        what, value, expected = wrong
        raise RetrievalError(
            f"{type(retriever).__name__} answered with {what} of type {type(value).__name__}; "
            f"expected {expected}; correct the retriever"
        )
    # Scores of numpy are no JSON.
    return hit if isinstance(hit.score, float) else replace(hit, score=float(hit.score))


def _as_list(answer: object) -> list[object] | None:
    return list(answer) if isinstance(answer, list | tuple) else None
