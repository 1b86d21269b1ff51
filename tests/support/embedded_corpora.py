"""Passages, and the steps of `onegen embed` over them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onegen_model import Passage
from onegen_model.retrieval.corpus_writer import (
    begin,
    finish,
    require_same_corpus,
    withdraw_broken,
)
from onegen_model.retrieval.manifest import EmbeddingSpec, Manifest
from onegen_model.retrieval.shards import (
    cut,
    find_missing,
    find_present,
    write_passages,
    write_vectors,
)
from tests.support.fake_embedder import unit

MADE = EmbeddingSpec("f" * 64, 8, 40, "float32", "float32", 20)


def passages(count: int, first: int = 0) -> list[Passage]:
    return [
        Passage(f"p{n}", f"text {n} é", f"title {n}", {"n": n, "half": "½"})
        for n in range(first, first + count)
    ]


def embed(some: Sequence[Passage]) -> np.ndarray:
    return np.array([unit(passage.title + passage.text) for passage in some])


def make(path: Path, corpus: Sequence[Passage], *, made: EmbeddingSpec = MADE) -> int:
    """The steps of `onegen embed`; returns how many shards were embedded."""
    begin(path, made)
    shards = cut(corpus, made.shard_size)
    require_same_corpus(path, shards)
    missing = find_missing(path, shards)
    withdraw_broken(path)
    write_passages(path, shards)
    for shard in missing:
        write_vectors(path, shard, embed(shard.passages).astype(made.stored_as))
    finish(path, Manifest(made, find_present(path, shards)))
    return len(missing)


def only(files: Sequence[Path]) -> Path:
    return min(files)
