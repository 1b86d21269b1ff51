"""Who is asked for paragraphs: our index by vector, BM25 and MiniLM by text; same pieces."""

from collections.abc import Collection, Sequence
from typing import Protocol

import bm25s
import numpy as np
from numpy.typing import NDArray

from benchmarks.two_models import MiniLM
from onegen_model import Passage, PassageIndex

DEPTH = 5
# Several pieces of one paragraph count once, so more pieces than paragraphs are ranked.
PIECES = 40


class TextSearcher(Protocol):
    def rank(self, text: str, among: Collection[str] | None = None) -> list[str]:
        """The best paragraphs, of all or `among` these, best first."""
        ...


class OwnSearcher:
    """The index, asked with the model's own query embeddings."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index

    def rank(
        self, embedding: NDArray[np.float32], among: Collection[str] | None = None
    ) -> list[str]:
        """The best paragraphs, of all or `among` these, best first."""
        wanted = {"paragraph": list(among)} if among is not None else None
        [hits] = self._index.search(embedding[None], PIECES, filter=wanted)
        return _paragraphs([hit.passage for hit in hits])


class _Scored:
    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._texts = [f"{passage.title}\n{passage.text}" for passage in passages]
        self._scores: dict[str, NDArray[np.float32]] = {}

    def _score(self, text: str) -> NDArray[np.float32]:
        raise NotImplementedError

    def rank(self, text: str, among: Collection[str] | None = None) -> list[str]:
        if text not in self._scores:
            self._scores[text] = self._score(text)
        order = np.argsort(-self._scores[text], kind="stable").tolist()
        ranked = (self._passages[at] for at in order)
        return _paragraphs(
            [one for one in ranked if among is None or one.metadata["paragraph"] in among][:PIECES]
        )


class Bm25Searcher(_Scored):
    def __init__(self, passages: Sequence[Passage]) -> None:
        super().__init__(passages)
        self._bm25 = bm25s.BM25()
        self._bm25.index(self._words(self._texts), show_progress=False)

    @staticmethod
    def _words(texts: Sequence[str]) -> list[list[str]]:
        words: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", return_ids=False, show_progress=False
        )
        return words

    def _score(self, text: str) -> NDArray[np.float32]:
        [words] = self._words([text])
        known = [word for word in words if word in self._bm25.vocab_dict]
        if not known:
            return np.zeros(len(self._texts), np.float32)
        scores: NDArray[np.float32] = self._bm25.get_scores(known)
        return scores


class MiniLMSearcher(_Scored):
    def __init__(self, passages: Sequence[Passage], encoder: MiniLM) -> None:
        super().__init__(passages)
        self._encoder = encoder
        self._vectors = encoder.embed(self._texts)

    def _score(self, text: str) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._vectors @ self._encoder.embed([text])[0]
        return scores


def _paragraphs(passages: Sequence[Passage]) -> list[str]:
    return list(dict.fromkeys(str(one.metadata["paragraph"]) for one in passages))[:DEPTH]
