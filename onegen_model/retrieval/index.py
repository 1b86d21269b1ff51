"""Passages and their vectors: exact search by inner product of unit vectors.

A row is (passage, fragment): a passage may have several vectors, and its score is that of its best
one. What is found for a query does not depend on the other queries of the call.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import Passage, Query, ScoredPassage
from onegen_model.retrieval.corpus import EmbeddedCorpus, is_embedded
from onegen_model.retrieval.filters import by_id, filter_key, matches, same_content, unit_rows
from onegen_model.retrieval.index_files import StoredIndex, read_index, write_index

# Enough passages to sort by length, so that little is padded; a failure loses fewer.
_BATCH = 128
# Single-precision sums differ by less than this between one query and a batch of queries.
_ROUNDING = 1e-5
_SLACK = 8


class Embedder(Protocol):
    """What an index needs of a model."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_passage_tokens(self) -> int: ...

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n, dimension), L2-normalised; raises PassageTooLongError."""
        ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    top_k: int
    exclude: frozenset[str]


class PassageIndex:
    """A Retriever over an embedder's passages; safe to use from several threads.

    A `filter` maps names of metadata to a value, or to a list of values of which any will do; all
    names must match: `{"lang": "en", "year": [2020, 2021]}`.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._faiss = _import_faiss()
        self._vectors = self._faiss.IndexFlatIP(embedder.dimension)
        self._passages: list[Passage] = []
        self._position: dict[str, int] = {}
        self._owners: list[int] = []  # row -> position of its passage; a passage's rows adjoin
        self._lock = threading.RLock()

    @classmethod
    def build(
        cls, embedder: Embedder, passages: Iterable[Passage], *, progress: bool = False
    ) -> "PassageIndex":
        index = cls(embedder)
        index.add(passages, progress=progress)
        return index

    @property
    def passages(self) -> tuple[Passage, ...]:
        """In the order in which they were added."""
        with self._lock:
            return tuple(self._passages)

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._passages)

    def __contains__(self, passage_id: object) -> bool:
        return passage_id in self._position

    def add(self, passages: Iterable[Passage], *, progress: bool = False) -> int:
        """Embed what is new; returns how many passages that were.

        A known id with the same title and text is not embedded again (its metadata is replaced);
        with another title or text the passage is replaced. When embedding fails, the batches
        before it stay, and the same call goes on from there.
        """
        pending = self._adopt(by_id(passages))
        bar = tqdm(total=len(pending), desc="Embedding", unit="passage", disable=not progress)
        with bar:
            for start in range(0, len(pending), _BATCH):
                batch = pending[start : start + _BATCH]
                self.add_embedded(batch, self._embedder.embed_passages(batch))
                bar.update(len(batch))
        return len(pending)

    def _adopt(self, given: Mapping[str, Passage]) -> list[Passage]:
        pending = []
        with self._lock:
            for passage in given.values():
                at = self._position.get(passage.id)
                known = None if at is None else self._passages[at]
                if at is None or known is None or not same_content(known, passage):
                    pending.append(passage)
                else:
                    self._passages[at] = passage
        return pending

    def add_embedded(self, passages: Sequence[Passage], vectors: ArrayLike) -> None:
        """`vectors` (n, dimension) are unit rows, one for each of the n passages.

        A passage that is named several times has several fragments. Known ids are replaced.
        """
        rows = unit_rows(vectors, len(passages), self.dimension)
        given = by_id(passages)
        order = {passage_id: at for at, passage_id in enumerate(given)}
        ranks = np.array([order[passage.id] for passage in passages], dtype=np.int64)
        by_passage = np.argsort(ranks, kind="stable")
        with self._lock:
            self.delete(given)
            first = len(self._passages)
            self._vectors.add(np.ascontiguousarray(rows[by_passage]))
            self._owners += (ranks[by_passage] + first).tolist()
            self._passages += given.values()
            self._position |= {key: first + at for key, at in order.items()}

    def delete(self, ids: Iterable[str]) -> int:
        """Returns how many of these ids were there."""
        if isinstance(ids, str):
            raise InvalidInputError(f"ids={ids!r}; expected a list of passage ids; write [{ids!r}]")
        with self._lock:
            gone = {self._position[i] for i in ids if i in self._position}
            if not gone:
                return 0
            rows = [row for row, owner in enumerate(self._owners) if owner in gone]
            kept = [at for at in range(len(self._passages)) if at not in gone]
            renumbered = {old: new for new, old in enumerate(kept)}
            self._vectors.remove_ids(np.array(rows, dtype=np.int64))
            self._owners = [renumbered[at] for at in self._owners if at not in gone]
            self._passages = [self._passages[at] for at in kept]
            self._position = {passage.id: at for at, passage in enumerate(self._passages)}
        return len(gone)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """Queries with the same filter are answered by one search."""
        found: list[list[ScoredPassage]] = [[] for _ in queries]
        groups: dict[str, list[int]] = {}
        for at, query in enumerate(queries):
            groups.setdefault(filter_key(query.filter), []).append(at)
        for members in groups.values():
            embeddings = [np.asarray(queries[at].embedding, dtype=np.float32) for at in members]
            wanted = [_Wanted(queries[at].top_k, frozenset(queries[at].exclude)) for at in members]
            rows = unit_rows(embeddings, len(members), self.dimension)
            answers = self._search(rows, wanted, queries[members[0]].filter)
            for at, answer in zip(members, answers, strict=True):
                found[at] = answer
        return found

    def search(
        self,
        vectors: ArrayLike,
        top_k: int,
        *,
        filter: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[ScoredPassage]]:
        """The best `top_k` passages for each row of `vectors` (n, dimension), best first.

        Equal scores stand in the order in which the passages were added.
        """
        queries = np.asarray(vectors)
        rows = unit_rows(queries, len(queries), self.dimension)
        wanted = _Wanted(top_k, frozenset(exclude))
        return self._search(rows, [wanted] * len(rows), filter)

    def _search(
        self,
        queries: NDArray[np.float32],
        wanted: Sequence[_Wanted],
        filter: Mapping[str, Any] | None,
    ) -> list[list[ScoredPassage]]:
        if any(item.top_k < 1 for item in wanted):
            raise InvalidInputError("top_k is below 1; expected 1 or more; change top_k")
        with self._lock:
            eligible, params = self._select(filter)
            excluded = max((self._count_rows(item.exclude) for item in wanted), default=0)
            fetch = max((item.top_k for item in wanted), default=0) + excluded + _SLACK
            while eligible and wanted:
                fetch = min(fetch, eligible)
                raw, rows = self._vectors.search(queries, fetch, params=params)
                best = [self._rank(*found) for found in zip(queries, rows, wanted, strict=True)]
                if fetch == eligible or all(map(_is_sure, best, wanted, raw[:, -1])):
                    return best
                fetch *= 2  # fragments of the same passages, or scores too close to cut between
        return [[] for _ in wanted]

    def _select(self, filter: Mapping[str, Any] | None) -> tuple[int, Any]:
        """The number of rows that match, and faiss parameters that search only those."""
        if not filter:
            return len(self._owners), None
        matching = np.array([matches(passage, filter) for passage in self._passages], dtype=bool)
        rows = matching[np.array(self._owners, dtype=np.int64)]
        selector = self._faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little"))
        return int(rows.sum()), self._faiss.SearchParameters(sel=selector)

    def _count_rows(self, ids: frozenset[str]) -> int:
        known = {self._position[i] for i in ids if i in self._position}
        if len(self._owners) == len(self._passages):
            return len(known)
        return sum(owner in known for owner in self._owners)

    def _rank(
        self, query: NDArray[np.float32], rows: NDArray[np.int64], wanted: _Wanted
    ) -> list[ScoredPassage]:
        # Scored again in double precision: faiss rounds otherwise for one query than for twenty.
        stored = self._vectors.reconstruct_batch(rows)
        scores = (stored * query.astype(np.float64)).sum(axis=1)
        best: dict[int, float] = {}
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            owner = self._owners[row]
            if self._passages[owner].id not in wanted.exclude:
                best[owner] = max(score, best.get(owner, score))
        order = sorted(best, key=lambda owner: (-best[owner], owner))
        return [ScoredPassage(self._passages[at], best[at]) for at in order[: wanted.top_k]]

    def save(self, path: str | PathLike[str]) -> None:
        """Write a folder, or replace the index in it as a whole: a save that is killed leaves the
        old one. Raises PassageIndexError if something else stands at `path`.
        """
        with self._lock:
            fragments = np.bincount(
                np.array(self._owners, dtype=np.int64), minlength=len(self._passages)
            )
            rows = self._vectors.reconstruct_n(0, len(self._owners))
            stored = StoredIndex(
                self._embedder.fingerprint, self._passages, fragments.tolist(), rows
            )
            write_index(Path(path), stored)

    @classmethod
    def load(cls, embedder: Embedder, path: str | PathLike[str]) -> "PassageIndex":
        """What `save` or `onegen embed` wrote.

        Raises PassageIndexError if it is missing, damaged, or of another model or version.
        """
        index = cls(embedder)
        if is_embedded(Path(path)):
            corpus = EmbeddedCorpus.open(path, fingerprint=embedder.fingerprint)
            for passages, vectors in corpus.batches():
                index.add_embedded(passages, vectors)
            return index
        stored = read_index(
            Path(path), fingerprint=embedder.fingerprint, dimension=embedder.dimension
        )
        pairs = zip(stored.passages, stored.fragments, strict=True)
        index.add_embedded(
            [passage for passage, count in pairs for _ in range(count)], stored.vectors
        )
        return index


def _is_sure(best: Sequence[ScoredPassage], wanted: _Wanted, last: float) -> bool:
    return len(best) == wanted.top_k and last < best[-1].score - _ROUNDING


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "The package faiss is not installed; expected it for a PassageIndex; "
            'run `pip install "onegen[faiss]"`'
        ) from error
    return faiss
