"""Entities in a vector store of LangChain, or behind one of its retrievers."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks.manager import BaseRunManager

from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.turns import Lookup
from onegen_integrations.langchain.vectorstores import Search
from onegen_integrations.shared.entities import UnscoredEntity
from onegen_model import LinkingParams, Passage, Query, ScoredPassage
from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class StoreEntities:
    """Both retrievers of the core over one search; the parameters of each text are `in_run`.

    A document is an entity; without a title its first line is the name.
    """

    searched: Search

    def in_run(self, linking: LinkingParams, manager: BaseRunManager | None) -> LinkingParams:
        """The parameters of a text whose mentions are searched as runs below that of `manager`.

        Names count where scores are known as cosines; elsewhere the order stays the store's.
        Raises InvalidInputError for candidates, and for a threshold of scores that are not known
        as cosines, and PassageIndexError for a store that cannot be searched.
        """
        if linking.candidates is not None:
            raise InvalidInputError(
                f"candidates with {type(self.searched.source).__name__}, which cannot score given "
                "entities; expected a PassageIndex, the folder of one, or a OneGenVectorStore; use "
                "a filter instead"
            )
        if linking.nil_threshold is not None and self.searched.to_cosine is None:
            raise InvalidInputError(
                f"nil_threshold={linking.nil_threshold} for {type(self.searched.source).__name__}, "
                "whose scores are not known as cosines; expected a PassageIndex, Chroma, FAISS or "
                "InMemoryVectorStore, without mmr; leave nil_threshold out"
            )
        if manager is not None:  # A store may be filled after its linker was made.
            self.searched.require_searchable()
        run = Run(manager.run_id, manager) if manager else None
        lookup: Any = Lookup(self.searched, run, filter=linking.filter)
        weight = 0 if self.searched.to_cosine is None else linking.name_weight
        return replace(linking, filter=lookup, name_weight=weight)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        own, lookup = _own_lookups(queries)
        return [self._to_entities(found) for found in lookup.retriever.retrieve(own)]

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        own, lookup = _own_lookups(queries)
        return [self._to_entities(found) for found in await lookup.retriever.aretrieve(own)]

    def _to_entities(self, found: Sequence[ScoredPassage]) -> list[ScoredPassage]:
        if self.searched.to_cosine is None:
            return [UnscoredEntity(_to_entity(one.passage), one.score) for one in found]
        return [replace(one, passage=_to_entity(one.passage)) for one in found]


def _own_lookups(queries: Sequence[Query]) -> tuple[list[Query], Lookup]:
    """The queries with a copy of their Lookup each, because one holds a single outcome."""
    lookups: list[Any] = [copy.copy(query.filter) for query in queries]
    own = [replace(query, filter=one) for query, one in zip(queries, lookups, strict=True)]
    return own, lookups[0]


def _to_entity(passage: Passage) -> Passage:
    name, _, description = passage.text.partition("\n")
    if passage.title or not (name.strip() and description.strip()):
        return passage
    return replace(passage, title=name, text=description)
