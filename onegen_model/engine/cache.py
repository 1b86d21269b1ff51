"""Keys and values of many requests, each in a slot of its own, at its own absolute positions."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the rows of one forward write, and how many positions they look back on.

    `slots` (rows,) and `positions` (rows, width) are absolute. `span` is set when the slots are
    consecutive, `start` when all rows write the same positions; `real` lists the flat positions
    that carry a token (None: all of them do), because padding must not be written.
    """

    slots: Tensor
    positions: Tensor
    need: int
    span: slice | None = None
    start: int | None = None
    real: Tensor | None = None

    def write(self, kept: Tensor, new: Tensor) -> None:
        """Put `new` (rows, heads, width, size) into `kept` (slots, heads, capacity, size)."""
        width = new.shape[2]
        if self.span is not None and self.start is not None:
            kept[self.span, :, self.start : self.start + width] = new
            return
        slots = self.slots.repeat_interleave(width) if width > 1 else self.slots
        positions = self.positions.flatten()
        source = new.transpose(1, 2).flatten(0, 1)
        if self.real is not None:
            slots, positions, source = slots[self.real], positions[self.real], source[self.real]
        kept[slots, :, positions] = source

    def read(self, kept: Tensor) -> Tensor:
        """(rows, heads, need, size); a view where the slots are consecutive."""
        seen = kept[:, :, : self.need]
        return seen[self.span] if self.span is not None else seen.index_select(0, self.slots)


@dataclass(slots=True)
class _Plan:
    """What all layers share. Layers may be larger than this after a failed `resize`."""

    num_slots: int = 0
    capacity: int = 0
    placement: Placement | None = None


class SlotLayer(CacheLayerMixin):
    """One layer's `keys` and `values`, both (slots, heads, capacity, size)."""

    def __init__(self, plan: _Plan) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._plan = plan

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Nothing before the first forward."""
        return () if self.keys is None or self.values is None else (self.keys, self.values)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        # Zeros, not `empty`: a masked position still takes part as 0 * value, and 0 * nan is nan.
        self.keys, self.values = (
            new.new_zeros(self._plan.num_slots, new.shape[1], self._plan.capacity, new.shape[3])
            for new in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        placement = self._plan.placement
        assert placement is not None
        assert self.keys is not None
        assert self.values is not None
        placement.write(self.keys, key_states)
        placement.write(self.values, value_states)
        return placement.read(self.keys), placement.read(self.values)

    def resize(self) -> None:
        """Does nothing where it has been done, so that a resize that ran out of memory can be
        repeated.
        """
        plan = self._plan
        if not self.tensors:
            return
        for name, old in zip(("keys", "values"), self.tensors, strict=True):
            if (old.shape[0], old.shape[2]) != (plan.num_slots, plan.capacity):
                new = old.new_zeros(plan.num_slots, old.shape[1], plan.capacity, old.shape[3])
                slots = min(old.shape[0], plan.num_slots)
                length = min(old.shape[2], plan.capacity)
                new[:slots, :, :length] = old[:slots, :, :length]
                setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        placement = self._plan.placement
        return (placement.need if placement else query_length), 0

    def get_seq_length(self) -> int:
        placement = self._plan.placement
        return placement.need - placement.positions.shape[1] if placement else 0

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        return -1


class SlotCache(Cache):
    """The K/V store of one engine. Who owns which slot is the `SlotPool`'s business."""

    def __init__(self, num_layers: int) -> None:
        self._plan = _Plan()
        self._slotted = [SlotLayer(self._plan) for _ in range(num_layers)]
        super().__init__(layers=[*self._slotted])

    @property
    def num_slots(self) -> int:
        return self._plan.num_slots

    @property
    def capacity(self) -> int:
        """Positions per slot."""
        return self._plan.capacity

    @property
    def bytes_per_position(self) -> int:
        """Of one slot, over all layers; 0 before the first forward."""
        return sum(
            tensor.shape[1] * tensor.shape[3] * tensor.element_size()
            for layer in self._slotted
            for tensor in layer.tensors
        )

    def place(self, placement: Placement) -> None:
        """Say where the next forward's rows belong."""
        self._plan.placement = placement

    def resize(self, num_slots: int, capacity: int) -> None:
        """Keep what fits; slots and positions are added or cut at their ends."""
        old = self._plan.num_slots, self._plan.capacity
        self._plan.num_slots, self._plan.capacity = num_slots, capacity
        try:
            for layer in self._slotted:
                layer.resize()
        except BaseException:
            self._plan.num_slots, self._plan.capacity = old
            raise

    def copy(self, source: int, target: int, start: int, stop: int) -> None:
        """Copy positions `start` to `stop` from one slot to another."""
        for tensor in self._tensors():
            tensor[target, :, start:stop] = tensor[source, :, start:stop]

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange the first `length` positions of two slots.

        All memory is taken before anything is written: a swap of some layers would mix two
        requests.
        """
        pairs = [(t[one, :, :length], t[other, :, :length]) for t in self._tensors()]
        kinds = {_kind(mine): mine for mine, _ in pairs}
        held = {kind: torch.empty_like(mine) for kind, mine in kinds.items()}
        for mine, theirs in pairs:
            kept = held[_kind(mine)].copy_(mine)
            mine.copy_(theirs)
            theirs.copy_(kept)

    def clear(self, slot: int) -> None:
        """Overwrite a slot with zeros."""
        for tensor in self._tensors():
            tensor[slot].zero_()

    def _tensors(self) -> list[Tensor]:
        return [tensor for layer in self._slotted for tensor in layer.tensors]


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


def consecutive(slots: list[int]) -> slice | None:
    """The slots as a slice if they ascend without a gap."""
    first = slots[0]
    if slots == list(range(first, first + len(slots))):
        return slice(first, first + len(slots))
    return None


def make_placement(
    slots: list[int], starts: list[int], lengths: list[int], device: torch.device
) -> Placement:
    """The placement of rows that each append `lengths[i]` positions at `starts[i]`."""
    width = max(lengths)
    need = max(map(sum, zip(starts, lengths, strict=True)))
    table = torch.tensor([slots, starts, lengths], device=device)
    real = None
    positions = table[1, :, None]
    if width > 1:
        positions = positions + torch.arange(width, device=device)
        # Padding must not look beyond its row, nor beyond a table of learned positions.
        positions = positions.minimum((table[1] + table[2])[:, None] - 1)
    if min(lengths) < width:
        flat = [row * width + at for row, length in enumerate(lengths) for at in range(length)]
        real = torch.tensor(flat, device=device)
    is_uniform = real is None and min(starts) == max(starts)
    start = starts[0] if is_uniform else None
    return Placement(table[0], positions, need, consecutive(slots), start, real)
