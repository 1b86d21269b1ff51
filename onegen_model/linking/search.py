"""Link embeddings to entities: queries of a retriever, and what its hits become."""

import asyncio
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from onegen_model.errors import InvalidInputError, OneGenError
from onegen_model.events import Query, ScoredPassage
from onegen_model.linking.mentions import Mention
from onegen_model.linking.naming import by_name, widened
from onegen_model.linking.params import LinkingParams
from onegen_model.retrieval.protocol import (
    AnyRetriever,
    AsyncRetriever,
    Retriever,
    check_answers,
    require_retriever,
    retriever_error,
    retrieving,
    select_passages,
)


@runtime_checkable
class RankingRetriever(Protocol):
    """A retriever, of either kind, that scores passages with given ids."""

    def rank(
        self, embeddings: "Sequence[array[float]]", ids: Sequence[Sequence[str]]
    ) -> list[list[ScoredPassage]]:
        """For each embedding the passages with its ids, best first; unknown ids are left out."""
        ...


@runtime_checkable
class NamingRetriever(Protocol):
    """A retriever, of either kind, that knows its passages by their names."""

    def named(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """For each query all passages with its text as a name, scored as `retrieve` would, best
        first, outside `exclude`."""
        ...


@dataclass(frozen=True, slots=True)
class FoundMention:
    """A mention of a text that has no entity yet: where it is, and its link embedding.

    `among` are the ids of its candidates; None: all entities.
    """

    start: int
    end: int
    surface: str
    embedding: "array[float]"
    among: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """Mentions whose entities are wanted, the text of each, and how they are searched."""

    mentions: tuple[FoundMention, ...]
    texts: tuple[str, ...]
    params: tuple[LinkingParams, ...]

    def queries(self) -> list[Query]:
        """One for each mention."""
        return [
            widened(
                Query(one.embedding, one.surface, params.num_candidates, params.filter, (), text),
                params,
                one.among,
            )
            for one, text, params in zip(self.mentions, self.texts, self.params, strict=True)
        ]

    def free(self) -> list[Query]:
        """Those of mentions that are linked among all entities."""
        pairs = zip(self.mentions, self.queries(), strict=True)
        return [query for one, query in pairs if one.among is None]


def require_entities(entities: object, params: Sequence[LinkingParams], *, sync: bool) -> None:
    """Raise InvalidInputError for what cannot be searched as `params` ask."""
    if entities is None or isinstance(entities, list | tuple):
        given = "No entities" if entities is None else f"entities is a {type(entities).__name__}"
        raise InvalidInputError(
            f"{given}; expected an index of them, or another retriever; build one with "
            "PassageIndex.build(model, entities) or `onegen entities`"
        )
    require_retriever(entities, in_threads=sync)
    if hasattr(entities, "__len__") and not len(entities):
        raise InvalidInputError(
            f"The {type(entities).__name__} has no entities; expected some; add them first"
        )
    lists = any(one.candidates is not None for one in params)
    if lists and not isinstance(entities, RankingRetriever):
        raise InvalidInputError(
            f"candidates with {type(entities).__name__}, which has no method `rank`; expected a "
            "retriever that scores given entities, such as PassageIndex; use a filter instead"
        )
    if any(one.candidates is not None and one.filter for one in params):
        raise InvalidInputError(
            "linking has a filter and candidates; expected one of them; leave out the ids that do "
            "not pass the filter, and then the filter"
        )


def require_own_entities(entities: object, fingerprint: str) -> None:
    """Raise InvalidInputError for entities that say that another model has embedded them."""
    made_by = getattr(entities, "fingerprint", None)
    if isinstance(made_by, str) and made_by != fingerprint:
        raise InvalidInputError(
            f"The {type(entities).__name__} is of another model (fingerprint {made_by[:12]}…); "
            f"expected {fingerprint[:12]}…; embed the entities with the model that links, or link "
            "with theirs"
        )


@contextmanager
def _asking(entities: object) -> Iterator[None]:
    """Around a call of a retriever; raises RetrievalError for what is not an error of ours."""
    try:
        with retrieving():
            yield
    except OneGenError:
        raise
    except Exception as error:
        raise retriever_error(entities, error) from error


def search(wanted: Search, entities: Retriever) -> list[Mention]:
    """The mentions with their entities; raises RetrievalError for an odd answer."""
    found: object = []
    if queries := wanted.free():
        with _asking(entities):
            found = entities.retrieve(queries)
    return linked(wanted, entities, check_answers(found, queries, entities))


async def aretrieve(wanted: Search, entities: AsyncRetriever) -> list[object]:
    """What a retriever for event loops answers; `linked` takes it."""
    found: object = []
    if queries := wanted.free():
        try:
            with _asking(entities):
                found = await entities.aretrieve(queries)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise retriever_error(entities, error) from error
    return check_answers(found, queries, entities)


def linked(wanted: Search, entities: AnyRetriever, answers: Sequence[object]) -> list[Mention]:
    """The mentions with their entities; `answers` are those to the queries of `Search.free`."""
    queries = wanted.queries()
    given = zip(answers, _named(wanted, entities), strict=True)
    listed = iter(_ranked(wanted, queries, entities))
    found = []
    for mention, params, query in zip(wanted.mentions, wanted.params, queries, strict=True):
        answer, named = next(given) if mention.among is None else (next(listed), ())
        hits = select_passages(answer, query, entities)
        ordered = by_name(mention.surface, hits, named, params)
        found.append(_mention(mention, ordered[: params.num_candidates], params))
    return found


def _named(wanted: Search, entities: AnyRetriever) -> list[Sequence[ScoredPassage]]:
    """For each query of `Search.free` the entities that have the surface as a name."""
    queries = [replace(query, top_k=sys.maxsize) for query in wanted.free()]
    uses_names = any(one.name_weight for one in wanted.params)
    if not (queries and uses_names and isinstance(entities, NamingRetriever)):
        return [() for _ in queries]
    with _asking(entities):
        found = check_answers(entities.named(queries), queries, entities)
    pairs = zip(found, queries, strict=True)
    return [select_passages(answer, query, entities) for answer, query in pairs]


def _ranked(wanted: Search, queries: Sequence[Query], entities: AnyRetriever) -> list[object]:
    """The answers to the mentions that have a list of candidates."""
    pairs = zip(wanted.mentions, queries, strict=True)
    asked = [(one, query) for one, query in pairs if one.among is not None]
    if not asked:
        return []
    assert isinstance(entities, RankingRetriever)  # `require_entities` has seen to it
    embeddings = [one.embedding for one, _ in asked]
    with _asking(entities):
        found = entities.rank(embeddings, [one.among or () for one, _ in asked])
    return check_answers(found, [query for _, query in asked], entities)


def _mention(found: FoundMention, hits: Sequence[ScoredPassage], params: LinkingParams) -> Mention:
    best = hits[0] if hits else None
    least = params.nil_threshold
    is_nil = best is None or not (least is None or best.score >= least)
    return Mention(
        found.start,
        found.end,
        found.surface,
        None if is_nil else best,
        best.score if best else None,
        tuple(hits),
    )
