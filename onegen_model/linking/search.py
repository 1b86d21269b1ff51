"""Link embeddings to entities: queries of a retriever, and what its hits become."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from onegen_model.errors import InvalidInputError
from onegen_model.events import Query, ScoredPassage
from onegen_model.linking.mentions import Mention
from onegen_model.linking.params import LinkingParams
from onegen_model.retrieval.protocol import (
    AnyRetriever,
    AsyncRetriever,
    check_answers,
    require_retriever,
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
            Query(one.embedding, one.surface, params.num_candidates, params.filter, question=text)
            for one, text, params in zip(self.mentions, self.texts, self.params, strict=True)
        ]


def require_entities(entities: object, params: Sequence[LinkingParams], *, sync: bool) -> None:
    """Raise InvalidInputError for what cannot be searched as `params` ask."""
    if entities is None:
        raise InvalidInputError(
            "No entities; expected an index of them, or another retriever; build one with "
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


def search(search: Search, entities: AnyRetriever) -> list[Mention]:
    """The mentions with their entities; raises RetrievalError for an odd answer."""
    free, queries = _free(search)
    answers: list[object] = []
    if queries:
        with retrieving():
            found = entities.retrieve(queries)  # type: ignore[union-attr]
        answers = check_answers(found, queries, entities)
    return _linked(search, entities, free, answers)


async def asearch(search: Search, entities: AsyncRetriever) -> list[Mention]:
    """Like `search`, of a retriever for event loops."""
    free, queries = _free(search)
    answers: list[object] = []
    if queries:
        with retrieving():
            found = await entities.aretrieve(queries)
        answers = check_answers(found, queries, entities)
    return _linked(search, entities, free, answers)


def _free(search: Search) -> tuple[list[int], list[Query]]:
    """The mentions that are linked among all entities, by number, and their queries."""
    free = [at for at, one in enumerate(search.mentions) if one.among is None]
    queries = search.queries()
    return free, [queries[at] for at in free]


def _linked(
    search: Search, entities: AnyRetriever, free: Sequence[int], answers: Sequence[object]
) -> list[Mention]:
    hits: dict[int, list[ScoredPassage]] = {}
    queries = search.queries()
    for at, answer in zip(free, answers, strict=True):
        hits[at] = select_passages(answer, queries[at], entities)
    listed = [at for at in range(len(search.mentions)) if at not in hits]
    if listed:
        assert isinstance(entities, RankingRetriever)  # `require_entities` has seen to it
        mentions = [search.mentions[at] for at in listed]
        ids = [one.among or () for one in mentions]
        ranked = entities.rank([one.embedding for one in mentions], ids)
        for at, found in zip(listed, ranked, strict=True):
            hits[at] = found[: search.params[at].num_candidates]
    return [_mention(one, hits[at], search.params[at]) for at, one in enumerate(search.mentions)]


def _mention(found: FoundMention, hits: Sequence[ScoredPassage], params: LinkingParams) -> Mention:
    best = hits[0] if hits else None
    least = params.nil_threshold
    is_nil = best is None or (least is not None and best.score < least)
    return Mention(
        found.start,
        found.end,
        found.surface,
        None if is_nil else best,
        best.score if best else None,
        tuple(hits),
    )
