"""What the two sides of `benchmarks.frameworks` have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from onegen_model import Passage

CLASSIC, OURS = "classic", "ours"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process needs for its side; `model` is a checkpoint, `base` a plain model."""

    framework: str
    side: str
    passages: tuple[Passage, ...]
    top_k: int
    max_new_tokens: int
    model: str | None = None
    base: str | None = None


class Pipeline(Protocol):
    """A side; `answer` yields streamed texts and whether they belong to the answer."""

    network: Any
    indexing_seconds: float

    def answer(self, question: str) -> Iterator[tuple[str, bool]]: ...

    def encoder_positions(self) -> int:
        """Positions that the sentence encoder has read so far."""


def embedded_text(passage: Passage) -> str:
    """The text of a passage that both sides embed and read."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
