"""One forward over rows at different positions of different slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from onegen_model.engine.attention import AttentionPattern
from onegen_model.engine.cache import SlotCache, make_placement
from onegen_model.network import HeadOutput, Margins, Positions, read, read_margins

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# A chunk and an id in it, by their numbers.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """`ids` to be read behind the first `start` positions of a slot."""

    slot: int
    start: int
    ids: Sequence[int]


class SlotNetwork:
    """A network together with its slot cache."""

    def __init__(self, network: "PreTrainedModel") -> None:
        self._network = network
        self._pattern = AttentionPattern.of(network)
        self.device = network.device
        self.dtype = network.dtype
        self.cache = SlotCache(network.config.get_text_config().num_hidden_layers)

    def read(self, chunks: Sequence[Chunk], wanted: Sequence[int]) -> HeadOutput:
        """Read all chunks; results are those at the last ids of the chunks numbered in `wanted`.

        See `read_at`.
        """
        return self.read_at(chunks, [(row, len(chunks[row].ids) - 1) for row in wanted])

    def read_at(self, chunks: Sequence[Chunk], places: Sequence[Place]) -> HeadOutput:
        """Read all chunks; the results are those at `places`.

        The slots must be long enough. After an error the cached positions before each chunk's
        start are what they were.
        """
        return read(self._network, self._positions(places), **self._inputs(chunks))

    def compare_at(
        self,
        chunks: Sequence[Chunk],
        places: Sequence[Place],
        pairs: Sequence[tuple[int, int]],
    ) -> Margins:
        """Like `read_at`; instead of all logits the difference of those of two ids, at the last
        places one of `pairs` each.
        """
        compared = torch.tensor(pairs, dtype=torch.long, device=self.device).view(-1, 2)
        positions, inputs = self._positions(places), self._inputs(chunks)
        return read_margins(self._network, positions, compared, **inputs)

    def _positions(self, places: Sequence[Place]) -> Positions:
        at = torch.tensor(places, dtype=torch.long, device=self.device).view(-1, 2)
        return at[:, 0], at[:, 1]

    def _inputs(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """What the network takes; says where in the cache the chunks belong."""
        slots = [chunk.slot for chunk in chunks]
        starts = [chunk.start for chunk in chunks]
        lengths = [len(chunk.ids) for chunk in chunks]
        width = max(lengths)
        ids = [[*chunk.ids, *[chunk.ids[-1]] * (width - len(chunk.ids))] for chunk in chunks]
        placement = make_placement(slots, starts, lengths, self.device)
        self.cache.place(placement)
        return {
            "input_ids": torch.tensor(ids, device=self.device),
            "attention_mask": self._pattern.masks(
                starts, lengths, placement.positions, self._network.dtype
            ),
            "position_ids": placement.positions,
            "past_key_values": self.cache,
            "use_cache": True,
        }
