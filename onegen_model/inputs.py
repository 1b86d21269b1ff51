"""Inputs of a request: control ids, its prompt, passages to insert, and what follows none."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.errors import InvalidInputError
from onegen_model.events import ScoredPassage
from onegen_model.params import RetrievalParams, SamplingParams


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
    """A retrieved passage with the ids that are inserted for it, frame included.

    `narrower` take its place where there is no room for it: the passage with fewer neighbours, or
    the hits that were joined in it.
    """

    scored: ScoredPassage
    ids: tuple[int, ...]
    narrower: tuple["Candidate", ...] = ()

    @property
    def num_hits(self) -> int:
        """The number of hits in it."""
        return sum(one.num_hits for one in self.narrower) or 1


@dataclass(frozen=True, slots=True)
class EmptySearch:
    """What follows a search that brings no passage.

    `reason` says why nothing was found; it is empty where the context holds everything that the
    search finds. `ends`: the answer searches no more. `ids` are written next, in place of whatever
    else is forced.
    """

    reason: str = ""
    ends: bool = True
    ids: tuple[int, ...] = ()


def fit_candidates(candidates: Sequence[Candidate], room: int) -> list[Candidate]:
    """Candidates of at most `room` ids together, in the same order.

    First neighbours are left out, then whole passages, each time of the lowest score.
    """
    keep = list(candidates)
    while keep and sum(len(item.ids) for item in keep) > room:
        wide = [at for at, item in enumerate(keep) if item.narrower] or range(len(keep))
        # Of equal scores the last goes: foreign retrievers may know an order and no scores.
        worst = min(reversed(wide), key=lambda at: keep[at].scored.score)
        keep[worst : worst + 1] = keep[worst].narrower
    return keep


def require_budget(prompt: Prompt, sampling: SamplingParams, retrieval: RetrievalParams) -> None:
    """Raise InvalidInputError where the query token forced in `prompt` could not be answered."""
    least = len(prompt.forced) + 1
    if retrieval.max_retrievals <= prompt.retrievals or sampling.max_new_tokens < least:
        raise InvalidInputError(
            f'Retrieval "always" with max_retrievals={retrieval.max_retrievals} and '
            f"max_new_tokens={sampling.max_new_tokens}; expected at least {prompt.retrievals + 1} "
            f"and {least}; raise them"
        )
    if sampling.grammar is not None:
        raise InvalidInputError(
            'Retrieval "always" under a grammar; expected "auto" or "never", because a grammar '
            "has no place for passages; retrieve first, or leave the grammar out"
        )
