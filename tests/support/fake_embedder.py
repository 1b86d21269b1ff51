"""An embedder without a model: a text's hash seeds its vector; a token is a word."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import PassageTooLongError
from onegen_model.events import Passage


def unit(text: str, dimension: int = 8) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakeEmbedder:
    def __init__(
        self, fingerprint: str = "f" * 64, dimension: int = 8, max_passage_tokens: int = 40
    ) -> None:
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.max_passage_tokens = max_passage_tokens
        self.embedded: list[str] = []

    def count_passage_tokens(self, passage: Passage) -> int:
        return len(f"{passage.title} {passage.text}".split())

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        for passage in passages:
            if self.count_passage_tokens(passage) > self.max_passage_tokens:
                raise PassageTooLongError(f"Passage {passage.id!r} is too long")
        self.embedded += [passage.id for passage in passages]
        rows = [unit(passage.title + passage.text, self.dimension) for passage in passages]
        return np.array(rows, dtype=np.float32).reshape(len(passages), self.dimension)
