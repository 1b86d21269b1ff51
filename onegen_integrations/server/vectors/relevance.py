"""How well documents fit queries: the best fragment of each document, as a number from 0 to 1."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onegen_integrations.server.vectors.embedding import EmbeddingCall, Vectors
from onegen_model import OneGenModel, Passage

# Embeddings differ by less than this with the batch that they are computed in, and an order of
# documents must not.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Relevance:
    """The scores of pairs, and how many tokens their texts have."""

    scores: tuple[float, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The fragments of different documents; `owners` are the numbers of their documents."""

    fragments: list[Passage]
    owners: list[int]
    tokens: int


async def find_relevance(call: EmbeddingCall, pairs: Sequence[tuple[str, Passage]]) -> Relevance:
    """(1 + cosine) / 2 of the query embedding and that of the document's best fragment.

    Equal texts are embedded once and have equal scores; a document without text has the score 0.
    """
    queries = list(dict.fromkeys(query for query, _ in pairs))
    known = {_key(one): one for _, one in pairs if one.text.strip()}
    pieces = await asyncio.to_thread(_cut, call.model, queries, list(known.values()))
    asked = await call.queries(queries, "query")
    found = await call.passages(pieces.fragments, "documents")
    shape = (len(known), len(queries))
    scores = await asyncio.to_thread(_scores, asked, found, pieces.owners, shape)
    rows = {key: row for row, key in enumerate(known)}
    columns = {query: column for column, query in enumerate(queries)}
    return Relevance(
        tuple(
            float(scores[rows[_key(one)], columns[query]]) if _key(one) in rows else 0.0
            for query, one in pairs
        ),
        pieces.tokens,
    )


def _scores(
    asked: Vectors, found: Vectors, owners: list[int], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """For each document and query the score of the best fragment."""
    cosines = np.full(shape, -1, np.float32)
    np.maximum.at(cosines, owners, found @ asked.T)
    return np.clip((1 + cosines.astype(np.float64)) / 2, 0, 1).round(_DIGITS)


def _key(document: Passage) -> tuple[str, str]:
    return document.title, document.text


def _cut(model: OneGenModel, queries: Sequence[str], documents: Sequence[Passage]) -> _Pieces:
    fragments, owners = [], []
    for at, document in enumerate(documents):
        for fragment in model.fragments(document):
            fragments.append(fragment)
            owners.append(at)
    texts = [*queries, *map(model.template.passage_text, fragments)]
    return _Pieces(fragments, owners, sum(map(model.count_tokens, texts)))
