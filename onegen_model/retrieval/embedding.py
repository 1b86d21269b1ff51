"""What an index asks of a model: vectors of passages, of long ones in several fragments."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from onegen_model.events import Passage
from onegen_model.retrieval.manifest import Maker


class Embedder(Maker, Protocol):
    """The part of a model that an index uses."""

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n, dimension), L2-normalised; raises PassageTooLongError."""
        ...


@runtime_checkable
class FragmentEmbedder(Protocol):
    """An embedder that cuts a passage that is too long for one embedding."""

    def fragments(self, passage: Passage) -> Iterable[Passage]:
        """The passage itself, or its fragments in order, each short enough to be embedded."""
        ...


def embed(
    embedder: Embedder, passages: Sequence[Passage]
) -> tuple[list[Passage], NDArray[np.float32]]:
    """Passages and their vectors (n, dimension); one with several fragments is repeated.

    Raises PassageTooLongError for a long passage of an embedder that makes no fragments.
    """
    if not isinstance(embedder, FragmentEmbedder):
        return list(passages), embedder.embed_passages(passages)
    pairs = [(passage, one) for passage in passages for one in embedder.fragments(passage)]
    vectors = embedder.embed_passages([one for _, one in pairs])
    return [passage for passage, _ in pairs], vectors
