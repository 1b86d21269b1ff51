"""Every retriever over the same passages, for the suite that all of them pass."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onegen_model import Passage, PassageIndex, Retriever
from onegen_model.evaluation.ask.retrievers import (
    Bm25Retriever,
    EncoderRetriever,
    FixedQueryRetriever,
)
from tests.support.fake_embedder import FakeEmbedder, unit

MakeRetriever = Callable[[Sequence[Passage], Path], Retriever]


class FakeEncoder(FakeEmbedder):
    """A sentence encoder that embeds a text as `unit` does."""

    def embed(self, texts: list[str]) -> Any:
        return [unit(text) for text in texts]


def _built(passages: Sequence[Passage], folder: Path) -> Retriever:
    return PassageIndex.build(FakeEmbedder(), passages)


def _loaded(passages: Sequence[Passage], folder: Path) -> Retriever:
    PassageIndex.build(FakeEmbedder(), passages).save(folder / "my.index")
    return PassageIndex.load(FakeEmbedder(), folder / "my.index")


def _bm25(passages: Sequence[Passage], folder: Path) -> Retriever:
    return Bm25Retriever(passages)


def _encoder(passages: Sequence[Passage], folder: Path) -> Retriever:
    encoder: Any = FakeEncoder()
    return EncoderRetriever(encoder, PassageIndex.build(encoder, passages))


def _fixed(passages: Sequence[Passage], folder: Path) -> Retriever:
    return FixedQueryRetriever(_bm25(passages, folder), "mill town")


# A retriever that is added here is held to all of tests/contracts/test_retriever.py.
RETRIEVERS: dict[str, MakeRetriever] = {
    "index": _built,
    "loaded index": _loaded,
    "bm25": _bm25,
    "encoder": _encoder,
    "fixed query": _fixed,
}
