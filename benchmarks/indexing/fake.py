"""Embedders that count what they are given: a fake of constant speed, and a real one, watched."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onegen_model import OneGenModel, Passage

DIMENSION = 576
MAX_PASSAGE_TOKENS = 128


def count_words(text: str) -> int:
    return len(text.split())


class ConstantTimeEmbedder:
    """The vector of a passage depends on its text; each takes `seconds`.

    `count_tokens` is that of a real tokenizer where splitting is to cost what it does.
    """

    fingerprint = "f" * 64
    dimension = DIMENSION
    max_passage_tokens = MAX_PASSAGE_TOKENS

    def __init__(
        self, seconds: float = 0.0, count_tokens: Callable[[str], int] = count_words
    ) -> None:
        self.seconds_per_passage = seconds
        self.count_tokens = count_tokens
        self.passages = 0
        self.seconds = 0.0

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        started = time.process_time()
        rows = [_unit(f"{passage.title}\n{passage.text}") for passage in passages]
        time.sleep(self.seconds_per_passage * len(passages))
        self.passages += len(passages)
        self.seconds += time.process_time() - started
        return np.array(rows, dtype=np.float32).reshape(len(passages), self.dimension)


class WatchedModel:
    """A model whose embedding is timed, in seconds of the processor."""

    def __init__(self, model: OneGenModel) -> None:
        self._model = model
        self.passages = 0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        started = time.process_time()
        rows = self._model.embed_passages(passages, progress=progress)
        self.passages += len(passages)
        self.seconds += time.process_time() - started
        return rows


def _unit(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    row = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
    return row / np.linalg.norm(row)
