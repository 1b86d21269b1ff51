"""An index of passages: exact search by inner product of unit vectors.

A passage may have several vectors, and its score is that of its best one. The result of a query
does not depend on the other queries of the call.
"""

from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage, Query, ScoredPassage
from onegen_model.locks import ProcessLock
from onegen_model.retrieval.checks import by_id, require_text, unit_rows
from onegen_model.retrieval.corpus import Batch, EmbeddedCorpus, open_corpus, split_rows
from onegen_model.retrieval.corpus_writer import Content, save_corpus
from onegen_model.retrieval.embedding import Embedder, embed
from onegen_model.retrieval.filters import filter_key
from onegen_model.retrieval.manifest import Manifest, index_spec, read_manifest
from onegen_model.retrieval.names import NameLookup
from onegen_model.retrieval.neighbours import find_neighbours
from onegen_model.retrieval.pickling import require_small_pickle
from onegen_model.retrieval.rows import Rows, Wanted, import_faiss
from onegen_model.retrieval.updates import (
    RemovalReport,
    Reuse,
    UpdateReport,
    find_for_removal,
    renew_known,
    reuse_vectors,
)

# Enough passages to sort by length, so that little is padded; a failure loses fewer.
_BATCH = 128


class PassageIndex:
    """A Retriever over an embedder's passages; safe to use from several threads.

    A search sees the passages as they were when it began, and waits for no change and no other
    search. For filters, see `matches_filter`. It pickles as its embedder and the path of its
    folder, if that holds what it held when loaded or saved.
    """

    def __init__(self, embedder: Embedder) -> None:
        import_faiss()  # A missing package is reported now, not at the first search.
        self._embedder = embedder
        self._rows = Rows.empty(embedder.dimension)
        self._names = NameLookup()
        self._lock = ProcessLock()  # for changes; a search takes no lock
        self._saving = ProcessLock()
        self._folder: Path | None = None
        self._manifest: Manifest | None = None  # of the folder, when last loaded or saved
        self._saved: Rows | None = None  # the content of the folder

    @classmethod
    def build(
        cls, embedder: Embedder, passages: Iterable[Passage], *, progress: bool = False
    ) -> "PassageIndex":
        """An index of passages that are embedded now; see `add`."""
        index = cls(embedder)
        index.add(passages, progress=progress)
        return index

    @property
    def passages(self) -> tuple[Passage, ...]:
        """In the order in which they were added."""
        return self._rows.passages

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._embedder.dimension

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that makes the vectors."""
        return self._embedder.fingerprint

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._rows)

    def __contains__(self, passage_id: object) -> bool:
        return self._rows.find(passage_id) is not None

    def get(self, passage_id: str) -> Passage | None:
        """The passage with an id, if there is one."""
        return self._rows.get(passage_id)

    def batches(self, size: int = 1000) -> Iterator[Batch]:
        """Passages with their unit vectors, as `EmbeddedCorpus.batches` yields them."""
        if size < 1:
            raise InvalidInputError(f"size={size}; expected at least 1; change size")
        rows = self._rows.compacted()
        passages = [rows.listed[at] for at in rows.owners[: rows.size].tolist()]
        for some, vectors in split_rows(passages, rows.vectors, size):
            yield some, vectors.copy()

    def add(self, passages: Iterable[Passage], *, progress: bool = False) -> int:
        """Embed new passages; returns their number.

        A known id with the same title and text is not embedded again (its metadata is replaced);
        with another title or text the passage is replaced. A passage that is longer than the
        checkpoint's is embedded in several fragments. When embedding fails, the batches
        before it stay, and the same call continues from there. Raises InvalidInputError with the
        id of a passage that cannot be embedded or saved, before anything is embedded.
        """
        given = by_id(passages)
        require_text(given.values())
        with self._lock:
            self._rows, pending = renew_known(self._rows, given)
        self._embed(pending, progress=progress)
        return len(pending)

    def update(self, passages: Iterable[Passage], *, progress: bool = False) -> UpdateReport:
        """Add passages as `add` does, and embed only content that the index does not hold.

        A passage with the title and text of any passage in the index, whatever its id, takes the
        vectors of that one.
        """
        reuse = self.reuse(passages)
        self._embed(reuse.pending, progress=progress)
        return reuse.report()

    def reuse(self, passages: Iterable[Passage]) -> Reuse:
        """The first half of `update`: nothing is embedded, and what is left is `pending`."""
        given = by_id(passages)
        require_text(given.values())
        with self._lock:
            self._rows, reuse = reuse_vectors(self._rows, given)
        return reuse

    def _embed(self, pending: Sequence[Passage], *, progress: bool) -> None:
        bar = tqdm(total=len(pending), desc="Embedding", unit="passage", disable=not progress)
        with bar:
            for start in range(0, len(pending), _BATCH):
                batch = pending[start : start + _BATCH]
                self.add_embedded(*embed(self._embedder, batch))
                bar.update(len(batch))

    def add_embedded(self, passages: Sequence[Passage], vectors: ArrayLike) -> None:
        """`vectors` (n, dimension) are unit rows, one for each of the n passages.

        A passage that is named several times has several fragments. Known ids are replaced.
        """
        given = by_id(passages)
        require_text(given.values())
        self._append(given, passages, vectors)

    def _append(
        self, given: Mapping[str, Passage], passages: Sequence[Passage], vectors: ArrayLike
    ) -> None:
        names = [passage.id for passage in passages]
        rows = unit_rows(vectors, len(passages), self.dimension, names)
        order = {passage_id: at for at, passage_id in enumerate(given)}
        ranks = np.array([order[passage.id] for passage in passages], dtype=np.int64)
        by_passage = np.argsort(ranks, kind="stable")
        with self._lock:
            known = {at for at in map(self._rows.find, given) if at is not None}
            state = self._rows.without(known) if known else self._rows
            self._rows = state.with_added(
                list(given.values()), ranks[by_passage].tolist(), rows[by_passage]
            )

    def move_to_end(self, ids: Iterable[str]) -> None:
        """Put the passages with these ids, in this order, behind the others."""
        with self._lock:
            self._rows = self._rows.with_last(ids)

    def delete(self, ids: Iterable[str]) -> int:
        """Remove passages; returns the number of ids that were found."""
        return self.remove(ids).passages

    def remove(
        self, ids: Iterable[str] = (), *, sources: Iterable[str] = (), documents: Iterable[str] = ()
    ) -> RemovalReport:
        """Remove passages by their ids, and by their sources and documents (see `place_of`)."""
        with self._lock:
            gone, report = find_for_removal(self._rows, ids, sources, documents)
            if gone:
                self._rows = self._rows.without(gone)
        return report

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """Queries with the same filter are answered by one search."""
        state = self._rows
        found: list[list[ScoredPassage]] = [[] for _ in queries]
        groups: dict[Hashable, list[int]] = {}
        for at, query in enumerate(queries):
            groups.setdefault(filter_key(query.filter), []).append(at)
        for members in groups.values():
            embeddings = [np.asarray(queries[at].embedding, dtype=np.float32) for at in members]
            wanted = [Wanted(queries[at].top_k, frozenset(queries[at].exclude)) for at in members]
            rows = unit_rows(embeddings, len(members), self.dimension)
            answers = state.search(rows, wanted, queries[members[0]].filter)
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
        """The best `top_k` passages for each row of `vectors` (n, dimension), best first, and of
        equal scores in the order in which they were added."""
        count = len(vectors) if isinstance(vectors, Sized) else 1
        rows = unit_rows(vectors, count, self.dimension)
        wanted = Wanted(top_k, frozenset(exclude))
        return self._rows.search(rows, [wanted] * len(rows), filter)

    def rank(
        self, embeddings: ArrayLike, ids: Sequence[Collection[str]]
    ) -> list[list[ScoredPassage]]:
        """For embedding i the passages with the ids `ids[i]`, as `search` would score and order
        them; unknown ids are left out."""
        rows, state = unit_rows(embeddings, len(ids), self.dimension), self._rows
        return [state.rank(row, some) for row, some in zip(rows, ids, strict=True)]

    def named(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        """Of each query all passages with its text as a name, as `rank` scores and orders them."""
        return self._names.search(self._rows, queries)

    def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
        """See NeighbourRetriever; a passage without a place has no neighbours."""
        return find_neighbours(passage, window, self._rows.get, query.filter)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a folder, or replace the index in it as a whole: a save that is killed leaves the
        old one.

        Raises PassageIndexError if `path` holds something else, if another process is writing
        there, or if the folder has changed since this index was loaded from it or saved to it.
        """
        folder = Path(path).resolve()
        with self._saving:
            expected = self._manifest if folder == self._folder else None
            state = self._rows
            rows = state.compacted()
            content = Content(rows.passages, rows.fragments(), rows.vectors)

            def on_replaced(manifest: Manifest) -> None:
                self._folder, self._manifest, self._saved = folder, manifest, state

            made = index_spec(self._embedder, expected)
            save_corpus(folder, made, content, expected, on_replaced)

    @classmethod
    def load(cls, embedder: Embedder, path: str | PathLike[str]) -> "PassageIndex":
        """Load a folder of `save` or `onegen embed`.

        Raises PassageIndexError if it is missing, damaged, or of another model or version.
        """
        folder = Path(path)
        while True:
            corpus = open_corpus(folder, embedder.fingerprint, embedder.dimension)
            try:
                return cls._read(embedder, corpus)
            except PassageIndexError:
                # Another process may have saved in the meantime and removed the replaced files.
                if read_manifest(folder) == corpus.manifest:
                    raise

    @classmethod
    def _read(cls, embedder: Embedder, corpus: EmbeddedCorpus) -> "PassageIndex":
        index = cls(embedder)
        index._rows = Rows.empty(embedder.dimension, len(corpus))
        for passages, vectors in corpus.batches():
            index._append({passage.id: passage for passage in passages}, passages, vectors)
        index._folder, index._manifest = corpus.path.resolve(), corpus.manifest
        index._saved = index._rows
        return index

    def __reduce__(self) -> tuple[Callable[..., "PassageIndex"], tuple[Embedder, str]]:
        if self._folder is None or self._rows is not self._saved:
            what = "was never saved" if self._folder is None else "has changed since it was saved"
            raise InvalidInputError(
                f"The PassageIndex {what}; expected a saved one, because it pickles as its path; "
                "save it first, or pass its path and load it where it is needed"
            )
        require_small_pickle(self._embedder)
        return PassageIndex.load, (self._embedder, str(self._folder))
