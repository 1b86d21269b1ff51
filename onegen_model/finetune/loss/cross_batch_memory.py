"""Passages of earlier batches as additional negatives for small batches."""

from pathlib import Path

import torch
from torch import Tensor


class CrossBatchMemory:
    """The last `size` embedded passages: vectors (m, d) without gradient, keys (m,).

    Cross-batch memory (arXiv 1912.06798): weights change little from step to step, so that earlier
    embeddings are still useful negatives, at no cost.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._held[1]) if self._held else 0

    def behind(self, passages: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Passages (p, d) and their keys (p,), followed by those of the memory."""
        if self._held is None:
            return passages, keys
        vectors, names = self._held
        return torch.cat([passages, vectors.to(passages)]), torch.cat([keys, names.to(keys)])

    def keep(self, passages: Tensor, keys: Tensor) -> None:
        """Replace the memory by these passages, newest first."""
        # Cloned, as a view would keep the whole batch alive.
        self._held = passages[: self.size].detach().clone(), keys[: self.size].clone()

    def save(self, path: Path) -> None:
        """Write the memory; an empty one writes no file."""
        if self._held is not None:
            torch.save(self._held, path)

    def load(self, path: Path) -> None:
        """Restore what `save` wrote, if the file exists."""
        if path.is_file():
            vectors, names = torch.load(path, map_location="cpu", weights_only=True)
            self._held = vectors, names
