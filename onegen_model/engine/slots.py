"""Slots of the cache: which request owns which, and what finished ones still hold.

A finished slot keeps its content until the room is needed: the next request that begins with the
same ids does not read them again. Tensors are moved by the `SlotCache` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from onegen_model.engine.cache import SlotCache

FIRST_CAPACITY = 64


@dataclass(slots=True, eq=False)
class Slot:
    """The first `length` of `ids` are cached at row `index` of the store."""

    index: int
    ids: list[int] = field(default_factory=list)
    length: int = 0
    is_active: bool = False
    last_used: int = 0


class SlotPool:
    """Lends slots; the least recently used finished ones make room, active ones never do."""

    def __init__(self, store: SlotCache, *, max_bytes: int, max_length: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._max_length = max_length
        self._slots: list[Slot] = []
        self._clock = 0

    @property
    def usage(self) -> float:
        """The share of the budget that requests which have not finished fill; any thread may ask.

        Above 1 the budget gives way, because requests that run are never evicted.
        """
        held = sum(slot.length for slot in list(self._slots) if slot.is_active)
        return held * self._store.bytes_per_position / self._max_bytes

    def take(self, ids: list[int]) -> Slot:
        """A slot for `ids`, to which the caller keeps appending; `length` of them are cached.

        At least one id is left to be read.
        """
        donor, common = self._find_donor(ids, 0, None)
        if donor is not None and not donor.is_active and donor.length == common:
            slot = donor
        else:
            slot = self._vacate(donor)
            if donor is not None and slot is not donor:
                self._store.copy(donor.index, slot.index, 0, common)
        slot.ids, slot.length, slot.is_active = ids, common, True
        return slot

    def extend(self, slot: Slot) -> int:
        """Copy what another slot has of the ids that follow; returns how many."""
        start = slot.length
        donor, common = self._find_donor(slot.ids, start, slot)
        if donor is None:
            return 0
        self._store.copy(donor.index, slot.index, start, common)
        slot.length = common
        return common - start

    def release(self, slot: Slot, *, keep: bool = True) -> None:
        """The owner is done; `keep=False` when the content cannot be trusted."""
        self._clock += 1
        slot.is_active, slot.last_used = False, self._clock
        slot.ids = slot.ids[: slot.length]
        if not keep:
            self._store.clear(slot.index)
            _empty(slot)

    def reserve(self, length: int) -> None:
        """Make every slot at least `length` positions long."""
        capacity = max(self._store.capacity, FIRST_CAPACITY)
        while capacity < length:
            capacity *= 2
        capacity = max(length, min(capacity, self._max_length))
        if capacity <= self._store.capacity:
            return
        active = [slot for slot in self._slots if slot.is_active]
        if (allowed := self._affordable(capacity)) < len(self._slots):
            finished = sorted(self._finished(), key=lambda slot: -slot.last_used)
            kept = active + finished[: max(0, allowed - len(active))]
            self.move_to_front(kept)
            for slot in self._slots[len(kept) :]:
                _empty(slot)
            del self._slots[len(kept) :]
        self._store.resize(len(self._slots), capacity)

    def move_to_front(self, slots: Sequence[Slot]) -> None:
        """Make the indices of `slots` 0, 1, 2, … in some order, so that no read must gather."""
        count = len(slots)
        wanted = {slot.index for slot in slots}
        holes = [index for index in range(count) if index not in wanted]
        for index, hole in zip(sorted(wanted)[count - len(holes) :], holes, strict=True):
            self._swap(self._slots[index], self._slots[hole])

    def forget(self) -> None:
        """Drop what finished requests left behind, for example because the weights changed."""
        for slot in self._finished():
            _empty(slot)

    def _swap(self, one: Slot, other: Slot) -> None:
        if length := max(one.length, other.length):
            self._store.swap(one.index, other.index, length)
        one.index, other.index = other.index, one.index
        self._slots[one.index], self._slots[other.index] = one, other

    def _finished(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.length and not slot.is_active]

    def _find_donor(
        self, ids: Sequence[int], start: int, own: Slot | None
    ) -> tuple[Slot | None, int]:
        """Who has most of `ids` beyond `start`, and how many; one id is left to be read."""
        best, common = None, start
        limit = len(ids) - 1
        for slot in self._slots:
            stop = min(slot.length, limit)
            if slot is own or stop <= common or slot.ids[common] != ids[common]:
                continue
            if (found := common_prefix(slot.ids, ids, stop)) > common:
                best, common = slot, found
        return best, common

    def _vacate(self, donor: Slot | None) -> Slot:
        """An empty slot; the donor itself if nothing else can be had within the budget."""
        free = next((s for s in self._slots if not s.is_active and not s.length), None)
        if free is not None:
            return free
        count = len(self._slots)
        if (target := min(2 * count or 1, self._affordable(self._store.capacity))) > count:
            return self._grow(target)
        finished = sorted(self._finished(), key=lambda slot: (slot is donor, slot.last_used))
        # Requests that run are never evicted: there the budget gives way.
        return finished[0] if finished else self._grow(count + 1)

    def _grow(self, num_slots: int) -> Slot:
        count = len(self._slots)
        self._store.resize(num_slots, self._store.capacity)
        self._slots += [Slot(index) for index in range(count, num_slots)]
        return self._slots[count]

    def _affordable(self, capacity: int) -> int:
        size = capacity * self._store.bytes_per_position
        return self._max_bytes // size if size else 2 * len(self._slots) + 1


def common_prefix(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """Length of the longest common prefix, at most `limit`; by halving, at the speed of slices."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _empty(slot: Slot) -> None:
    slot.ids, slot.length = [], 0
