"""Several indexes that are searched as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge

from onegen_model import Passage, PassageIndex, Query, ScoredPassage


@dataclass(frozen=True, slots=True)
class MergedIndexes:
    """A Retriever and NeighbourRetriever over the indexes of several vector stores, by their ids.

    Their passages have ids of their own (see `onegen_integrations.server.stores`). What stands in
    several stores word for word is found once, and not again where the context holds it already.
    """

    indexes: Mapping[str, PassageIndex]

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """The best of all stores; of equal scores those of the store that is named first."""
        # So many may be left out below because another store's passage has the same text.
        wider = [replace(one, top_k=one.top_k + len(one.exclude)) for one in queries]
        answers = [index.retrieve(wider) for index in self.indexes.values()]
        return [self._best(query, found) for query, *found in zip(queries, *answers, strict=True)]

    def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
        """What stands around a passage in its document, in the store that it comes from."""
        for index in self.indexes.values():
            if passage.id in index:
                return index.neighbours(passage, window, query)
        return [passage]

    def get(self, passage_id: str) -> Passage | None:
        """The passage of an id, if one of the stores has it."""
        found = (index.get(passage_id) for index in self.indexes.values())
        return next(filter(None, found), None)

    def _best(self, query: Query, found: Sequence[Sequence[ScoredPassage]]) -> list[ScoredPassage]:
        held = filter(None, map(self.get, query.exclude))
        seen = {(passage.title, passage.text) for passage in held}
        best: list[ScoredPassage] = []
        for hit in merge(*found, key=lambda one: -one.score):
            content = (hit.passage.title, hit.passage.text)
            if content not in seen and len(best) < query.top_k:
                seen.add(content)
                best.append(hit)
        return best
