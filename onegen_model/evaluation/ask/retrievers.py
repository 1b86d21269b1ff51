"""Retrievers to compare with the model's own index: BM25 and a sentence encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.events import Passage, Query, ScoredPassage
from onegen_model.retrieval.bm25 import Bm25
from onegen_model.retrieval.filters import compile_filter
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.protocol import Retriever


class Bm25Retriever:
    """BM25 over titles and texts, queried with `Query.text`.

    A passage that shares no word with the query is not found.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = list(passages)
        self._bm25 = Bm25(passages)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """One list per query; equal scores keep the order of the passages."""
        return [self._search(query) for query in queries]

    def _search(self, query: Query) -> list[ScoredPassage]:
        matches = compile_filter(query.filter)
        scores = self._bm25.score(query.text)
        order = np.argsort(-scores, kind="stable")
        found: list[ScoredPassage] = []
        for at in order.tolist():
            passage, score = self._passages[at], float(scores[at])
            if score <= 0 or len(found) == query.top_k:
                break
            if passage.id not in query.exclude and matches(passage.metadata):
                found.append(ScoredPassage(passage, score))
        return found


class EncoderRetriever:
    """An index of a sentence encoder's vectors, queried with the vector of `Query.text`."""

    def __init__(self, encoder: SentenceEncoder, index: PassageIndex) -> None:
        self._encoder = encoder
        self._index = index

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """One list per query; the query's own embedding comes from another model and is ignored."""
        if not queries:
            return []
        vectors = self._encoder.embed([query.text for query in queries])
        asked = [
            replace(query, embedding=vector) for query, vector in zip(queries, vectors, strict=True)
        ]
        return self._index.retrieve(asked)


@dataclass(frozen=True, slots=True)
class FixedQueryRetriever:
    """A retriever that replaces text and embedding of each query by fixed ones."""

    retriever: Retriever
    text: str
    embedding: Any = None

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """One list per query; `top_k`, `filter` and `exclude` stay those of the query."""
        changes: Mapping[str, Any] = {"text": self.text}
        if self.embedding is not None:
            changes = {**changes, "embedding": self.embedding}
        return self.retriever.retrieve([replace(query, **changes) for query in queries])
