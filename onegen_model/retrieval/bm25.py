"""BM25 over passages: finds hard negatives, and is the baseline of evaluations."""

import logging
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import Passage

# Chinese and Japanese are written without spaces: each character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Words without case and punctuation, as BM25 and the search for answers see them."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Bm25:
    """BM25 (the `bm25s` package) over titles and texts.

    English function words are left out of queries; in other languages idf makes them weigh little.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        try:
            import bm25s
            from bm25s.stopwords import STOPWORDS_EN_PLUS
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"The package {error.name} is not installed; expected it to search with BM25; "
                'run `pip install "onegen[evaluate]"`'
            ) from error
        # It logs its steps as warnings.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        texts = [words(passage.titled_text) for passage in passages]
        if not any(texts):
            raise InvalidInputError(
                "No passage of the corpus holds a word; expected some text; check the file"
            )
        self._size = len(texts)
        self._stopwords = frozenset(STOPWORDS_EN_PLUS)
        self._bm25 = bm25s.BM25()
        self._bm25.index(texts, show_progress=False)

    def score(self, text: str) -> NDArray[np.float32]:
        """(passages,); a passage that shares no word with `text` scores 0."""
        asked = words(text)
        asked = [word for word in asked if word not in self._stopwords] or asked
        known = [word for word in asked if word in self._bm25.vocab_dict]
        if not known:
            return np.zeros(self._size, np.float32)
        scores: NDArray[np.float32] = self._bm25.get_scores(known)
        return scores
