"""Which unread ids go through the network together."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.engine.sampling import TokenSampler
from onegen_model.engine.slots import Slot
from onegen_model.request import Request


@dataclass(slots=True, eq=False)
class Row:
    """A request that has a slot. `is_fresh`: other slots may hold what it is about to read."""

    request: Request
    slot: Slot
    sampler: TokenSampler
    is_fresh: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether request and slot agree on what was read, and there is something left to read."""
        request = self.request
        return self.slot.length == request.num_read and bool(request.unread)


@dataclass(frozen=True, slots=True)
class RowChunk:
    """The next `length` unread ids of a row."""

    row: Row
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the row is left to read behind it."""
        return len(self.row.request.unread) == self.length


def without_repeats(rows: Sequence[Row]) -> list[Row]:
    """The rows that read in this step. A row waits, and is fresh, where an earlier one is about to
    read all that it has to read but the last id, as with many requests of one prompt.
    """
    reading: list[Row] = []
    for row in rows:
        row.is_fresh = any(_reads_for(other, row) for other in reading)
        if not row.is_fresh:
            reading.append(row)
    return reading


def _reads_for(one: Row, other: Row) -> bool:
    """Whether `one` is about to read what `other` has to read, up to its last id."""
    last = len(other.request.ids) - 1
    has_less = other.slot.length <= one.slot.length < last
    return has_less and one.request.ids[:last] == other.request.ids[:last]


def plan_forwards(rows: Sequence[Row], budget: int) -> list[list[RowChunk]]:
    """The forwards of one step: single ids together, then longer chunks, see `group_chunks`."""
    unread = {row: len(row.request.unread) for row in rows}
    single = [RowChunk(row, 1) for row in rows if unread[row] == 1]
    longer = [RowChunk(row, unread[row]) for row in rows if unread[row] > 1]
    return [group for group in (single, *group_chunks(longer, budget)) if group]


def group_chunks(chunks: Sequence[RowChunk], budget: int) -> list[list[RowChunk]]:
    """Forwards for this step: in order of arrival, at most `budget` ids in all.

    Chunks of similar length go together: no forward is padded by more than a quarter, or beyond
    the budget. A chunk longer than the budget is cut; its rest waits for the next step.
    """
    taken: list[RowChunk] = []
    left = budget
    for chunk in chunks:
        if chunk.length > left and taken:
            break
        taken.append(RowChunk(chunk.row, min(chunk.length, left)))
        left -= taken[-1].length
    groups: list[list[RowChunk]] = []
    tokens = 0
    for chunk in sorted(taken, key=lambda chunk: -chunk.length):
        tokens += chunk.length
        if groups:
            positions = groups[-1][0].length * (len(groups[-1]) + 1)
            if positions <= min(budget, tokens * 5 // 4):
                groups[-1].append(chunk)
                continue
        groups.append([chunk])
        tokens = chunk.length
    return groups
