"""Passages of earlier batches as negatives: a small batch holds too few."""

from pathlib import Path

import torch
from torch import Tensor


class CrossBatchMemory:
    """The last `size` passages that were embedded: vectors (m, d) without gradient, keys (m,).

    Cross-batch memory (arXiv 1912.06798): a network moves little from step to step, so that what
    it made of a passage a while ago is still a negative worth having, and costs nothing.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._held[1]) if self._held else 0

    def behind(self, passages: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Passages (p, d) and their keys (p,) with what is remembered behind them."""
        if self._held is None:
            return passages, keys
        vectors, names = self._held
        return torch.cat([passages, vectors.to(passages)]), torch.cat([keys, names.to(keys)])

    def keep(self, passages: Tensor, keys: Tensor) -> None:
        """Remember these, newest first, instead of what was remembered."""
        # Cloned, as a view would keep the whole batch alive.
        self._held = passages[: self.size].detach().clone(), keys[: self.size].clone()

    def save(self, path: Path) -> None:
        """Nothing is written where nothing is remembered."""
        if self._held is not None:
            torch.save(self._held, path)

    def load(self, path: Path) -> None:
        """Go on with what `save` wrote, if it wrote anything."""
        if path.is_file():
            vectors, names = torch.load(path, map_location="cpu", weights_only=True)
            self._held = vectors, names
