"""One state of an index: passages, their vectors, and exact search over them.

A state does not change once it is made, so that any number of threads search it without a lock
while the next state is made. A later state shares the arrays of an earlier one and only writes
behind its end; states are made one after another, each from the latest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import FragmentHit, Passage, ScoredPassage
from onegen_model.retrieval.filters import compile_filter

# Single-precision sums differ by less than this between one query and a batch of queries.
_ROUNDING = 1e-5
_SLACK = 8
_GROWTH = 1.5
# The share of passages that may be deleted before their rows are removed.
_MAX_DEAD = 0.25

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The other conditions of one query: how many passages, and which ones not."""

    top_k: int
    exclude: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rows:
    """`size` rows of `buffer` (capacity, dimension) are the vectors; `owners[row]` is the position
    of the row's passage among the first `count` of `listed`. The rows of a passage adjoin.

    Deleted passages are listed in `dead` until there are many, because removing their rows copies
    all others. Entries beyond `size` and `count`, and later positions in `position`, belong to
    later states.
    """

    buffer: Floats
    owners: NDArray[np.int64]
    listed: list[Passage]
    position: dict[str, int]
    size: int = 0
    count: int = 0
    dead: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """The number of passages."""
        return self.count - len(self.dead)

    @classmethod
    def empty(cls, dimension: int, capacity: int = 0) -> "Rows":
        """No passages, and room for `capacity` vectors."""
        buffer = np.empty((capacity, dimension), np.float32)
        return cls(buffer, np.empty(capacity, np.int64), [], {})

    @property
    def passages(self) -> tuple[Passage, ...]:
        """In the order in which they were added."""
        known = self.listed[: self.count]
        return tuple(passage for at, passage in enumerate(known) if at not in self.dead)

    @property
    def vectors(self) -> Floats:
        """(size, dimension), not to be written to."""
        return self.buffer[: self.size]

    def find(self, passage_id: object) -> int | None:
        """The position of a passage; None without it."""
        at = self.position.get(passage_id) if isinstance(passage_id, str) else None
        if at is None:
            return None
        if at < self.count and self.listed[at].id == passage_id:
            return None if at in self.dead else at
        # A later state, or an addition that failed, has given the id another position.
        places = range(self.count)
        return next(
            (n for n in places if self.listed[n].id == passage_id and n not in self.dead), None
        )

    def get(self, passage_id: str) -> Passage | None:
        """The passage with an id, if there is one."""
        at = self.find(passage_id)
        return None if at is None else self.listed[at]

    def positions(self) -> Iterator[int]:
        """The positions of all passages, without deleted ones."""
        return (at for at in range(self.count) if at not in self.dead)

    def gather(self, positions: Iterable[int]) -> tuple[Floats, list[int]]:
        """A copy of the vectors of passages, one passage after the other, and for each vector the
        number of its passage in `positions`.
        """
        rows, ranks = self._rows_of(positions)
        return self.buffer[rows], ranks.tolist()

    def _rows_of(self, positions: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of passages, and for each the number of its passage in `positions`."""
        wanted = np.fromiter(positions, dtype=np.int64)
        owners = self.owners[: self.size]
        starts, ends = (np.searchsorted(owners, wanted, side) for side in ("left", "right"))
        ranks = np.repeat(np.arange(len(wanted)), ends - starts)
        first = np.repeat(starts - np.cumsum(ends - starts) + (ends - starts), ends - starts)
        return first + np.arange(len(ranks)), ranks

    def fragments(self) -> list[int]:
        """How many vectors each passage has, deleted ones included."""
        counts: list[int] = np.bincount(self.owners[: self.size], minlength=self.count).tolist()
        return counts

    # --- the next state ---

    def with_added(self, passages: Sequence[Passage], ranks: Sequence[int], rows: Floats) -> "Rows":
        """`rows[i]` belongs to `passages[ranks[i]]`; ranks ascend, and all passages are new."""
        size = self.size + len(rows)
        buffer, owners = self.buffer, self.owners
        if size > len(buffer):
            capacity = max(size, int(_GROWTH * self.size))
            buffer = np.empty((capacity, buffer.shape[1]), np.float32)
            buffer[: self.size] = self.vectors
            owners = np.empty(capacity, np.int64)
            owners[: self.size] = self.owners[: self.size]
        buffer[self.size : size] = rows
        owners[self.size : size] = np.asarray(ranks, dtype=np.int64) + self.count
        del self.listed[self.count :]  # left by an addition that failed half-way
        self.listed.extend(passages)
        for at, passage in enumerate(passages, self.count):
            self.position[passage.id] = at
        count = self.count + len(passages)
        return replace(self, buffer=buffer, owners=owners, size=size, count=count)

    def with_replaced(self, passages: Mapping[int, Passage]) -> "Rows":
        """The same vectors for other passages of the same ids, by position."""
        listed = self.listed[: self.count]
        for at, passage in passages.items():
            listed[at] = passage
        return replace(self, listed=listed)

    def without(self, positions: Collection[int]) -> "Rows":
        """All passages but these."""
        state = replace(self, dead=self.dead.union(positions))
        return state.compacted() if len(state.dead) > self.count * _MAX_DEAD else state

    def with_last(self, ids: Iterable[str]) -> "Rows":
        """The same passages, those with these ids behind the others and in this order."""
        last = {at: None for at in map(self.find, ids) if at is not None}
        order = [*(at for at in self.positions() if at not in last), *last]
        buffer, owners = self.gather(order)
        listed = [self.listed[at] for at in order]
        position = {passage.id: at for at, passage in enumerate(listed)}
        size, count = len(buffer), len(listed)
        return Rows(buffer, np.array(owners, np.int64), listed, position, size, count)

    def compacted(self) -> "Rows":
        """The same passages without the rows of deleted ones."""
        if not self.dead:
            return self
        kept = np.ones(self.count, dtype=bool)
        kept[list(self.dead)] = False
        owners = self.owners[: self.size]
        rows = kept[owners]
        renumbered = np.cumsum(kept) - 1
        listed = [self.listed[at] for at in np.flatnonzero(kept).tolist()]
        position = {passage.id: at for at, passage in enumerate(listed)}
        buffer = self.vectors[rows]
        return Rows(buffer, renumbered[owners[rows]], listed, position, len(buffer), len(listed))

    # --- search ---

    def search(
        self, queries: Floats, wanted: Sequence[Wanted], filter: Mapping[str, Any] | None
    ) -> list[list[ScoredPassage]]:
        """The best passages for each row of `queries` (n, dimension), best first; equal scores in
        the order of adding.
        """
        if any(item.top_k < 1 for item in wanted):
            raise InvalidInputError("top_k is below 1; expected 1 or more; change top_k")
        eligible, selector = self._select(filter)
        excluded = max((self._count_rows(item.exclude) for item in wanted), default=0)
        fetch = max((item.top_k for item in wanted), default=0) + excluded + _SLACK
        while eligible and wanted:
            fetch = min(fetch, eligible)
            scores, rows = _nearest(queries, self.vectors, fetch, selector)
            best = [self._best(*found) for found in zip(queries, rows, wanted, strict=True)]
            if fetch == eligible or all(map(_is_sure, best, wanted, scores[:, -1])):
                return best
            # Deleted passages, fragments of one passage, or scores too close to cut between.
            fetch *= 2
        return [[] for _ in wanted]

    def rank(self, query: Floats, ids: Iterable[str]) -> list[ScoredPassage]:
        """The passages with these ids as `search` would score and order them; unknown ids are left
        out."""
        known = {at for at in map(self.find, ids) if at is not None}
        rows, _ = self._rows_of(known)
        return self._best(query, rows, Wanted(len(known), frozenset()))

    def _select(self, filter: Mapping[str, Any] | None) -> tuple[int, Any]:
        """The number of rows that match, and a faiss selector of them (None: all)."""
        matches = compile_filter(filter)
        if not filter:
            return self.size, None
        found = [
            at not in self.dead and matches(self.listed[at].metadata) for at in range(self.count)
        ]
        rows = np.array(found, dtype=bool)[self.owners[: self.size]]
        bitmap = np.packbits(rows, bitorder="little")
        return int(rows.sum()), import_faiss().IDSelectorBitmap(bitmap)

    def _count_rows(self, ids: frozenset[str]) -> int:
        known = [at for at in map(self.find, ids) if at is not None]
        if self.size == self.count:
            return len(known)
        return int(np.isin(self.owners[: self.size], known).sum())

    def _best(self, query: Floats, rows: NDArray[np.int64], wanted: Wanted) -> list[ScoredPassage]:
        # Scored again in double precision: faiss rounds otherwise for one query than for twenty.
        scores = (self.buffer[rows] * query.astype(np.float64)).sum(axis=1)
        best: dict[int, tuple[float, int]] = {}
        owners = self.owners[rows].tolist()
        for owner, score, row in zip(owners, scores.tolist(), rows.tolist(), strict=True):
            if owner not in self.dead and self.listed[owner].id not in wanted.exclude:
                best[owner] = max((score, -row), best.get(owner, (score, -row)))
        order = sorted(best, key=lambda owner: (-best[owner][0], owner))
        return [self._hit(at, best[at][0], -best[at][1]) for at in order[: wanted.top_k]]

    def _hit(self, at: int, score: float, row: int) -> ScoredPassage:
        first, end = np.searchsorted(self.owners[: self.size], [at, at + 1])
        if end - first == 1:
            return ScoredPassage(self.listed[at], score)
        return FragmentHit(self.listed[at], score, row - int(first))


def _is_sure(best: Sequence[ScoredPassage], wanted: Wanted, last: float) -> bool:
    return len(best) == wanted.top_k and last < best[-1].score - _ROUNDING


def _nearest(
    queries: Floats, vectors: Floats, count: int, selector: Any
) -> tuple[Floats, NDArray[np.int64]]:
    """Scores and rows (queries, count), by inner product, best first."""
    faiss = import_faiss()
    pointer = faiss.swig_ptr
    scores = np.empty((len(queries), count), np.float32)
    rows = np.empty((len(queries), count), np.int64)
    # The search of IndexFlatIP, over vectors that stay ours.
    faiss.knn_inner_product(
        pointer(queries),
        pointer(vectors),
        queries.shape[1],
        len(queries),
        len(vectors),
        count,
        pointer(scores),
        pointer(rows),
        selector,
    )
    return scores, rows


def import_faiss() -> Any:
    """The package; raises MissingExtraError without it."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "The package faiss is not installed; expected it for a PassageIndex; "
            'run `pip install "onegen[faiss]"`'
        ) from error
    return faiss
