"""Slots: assignment, reuse of prefixes, and eviction."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onegen_model.engine.cache import SlotCache, consecutive, make_placement
from onegen_model.engine.chunks import RowChunk, group_chunks
from onegen_model.engine.slots import Slot, SlotPool, common_prefix

CPU = torch.device("cpu")
POSITION = 2 * 1 * 4 * 8  # keys and values, one head, four numbers of eight bytes


def fill(cache: SlotCache, slot: int, values: list[float], start: int = 0) -> None:
    """One forward of one layer whose keys and values are `values`."""
    cache.place(make_placement([slot], [start], [len(values)], CPU))
    new = torch.tensor(values, dtype=torch.float64)[None, None, :, None].expand(1, 1, -1, 4)
    cache.update(new, -new, 0)


def content(cache: SlotCache, slot: Slot) -> list[float]:
    cache.place(make_placement([slot.index], [slot.length], [0], CPU))
    return cache.layers[0].keys[slot.index, 0, : slot.length, 0].tolist()


@pytest.fixture
def cache() -> SlotCache:
    return SlotCache(num_layers=1)


@pytest.fixture
def pool(cache: SlotCache) -> SlotPool:
    """Room for four slots of 64 positions."""
    return SlotPool(cache, max_bytes=4 * 64 * POSITION, max_length=512)


def use(pool: SlotPool, cache: SlotCache, ids: list[int]) -> Slot:
    """Take a slot and read everything; each id is its own key."""
    slot = pool.take(ids)
    pool.reserve(len(ids))
    fill(cache, slot.index, [float(i) for i in ids[slot.length :]], slot.length)
    slot.length = len(ids)
    return slot


def test_the_whole_content_of_a_finished_slot_is_taken_in_place(
    pool: SlotPool, cache: SlotCache
) -> None:
    first = use(pool, cache, [1, 2, 3])
    pool.release(first)
    second = pool.take([1, 2, 3, 4, 5])
    assert second is first
    assert second.length == 3


def test_a_shared_beginning_is_copied(pool: SlotPool, cache: SlotCache) -> None:
    first = use(pool, cache, [1, 2, 3])
    second = use(pool, cache, [1, 2, 9, 9])
    assert second is not first
    assert content(cache, second) == [1, 2, 9, 9]
    assert content(cache, first) == [1, 2, 3]


def test_one_id_is_always_left_to_read(pool: SlotPool, cache: SlotCache) -> None:
    pool.release(use(pool, cache, [1, 2, 3]))
    assert pool.take([1, 2, 3]).length == 2
    assert pool.take([1]).length == 0


def test_more_is_taken_over_when_ids_were_inserted(pool: SlotPool, cache: SlotCache) -> None:
    pool.release(use(pool, cache, [1, 2, 3, 4, 5, 6]))
    slot = use(pool, cache, [1, 2])
    slot.ids += [3, 4, 5, 7]
    assert pool.extend(slot) == 3
    assert content(cache, slot) == [1, 2, 3, 4, 5]
    assert pool.extend(slot) == 0


def test_the_least_recently_used_finished_slot_is_evicted(pool: SlotPool, cache: SlotCache) -> None:
    slots = [use(pool, cache, [n, n, n]) for n in range(4)]
    for at in (2, 0, 3):
        pool.release(slots[at])
    assert cache.num_slots == 4
    assert use(pool, cache, [7, 7]) is slots[2]
    assert pool.take([0, 0, 0, 0]).length == 3
    assert slots[1].length == 3, "a running request keeps its slot"


def test_running_requests_exceed_the_budget_rather_than_fail(
    pool: SlotPool, cache: SlotCache
) -> None:
    slots = [use(pool, cache, [n, n]) for n in range(6)]
    assert cache.num_slots == 6
    assert [content(cache, slot) for slot in slots] == [[n, n] for n in range(6)]


def test_longer_slots_drop_finished_ones(pool: SlotPool, cache: SlotCache) -> None:
    slots = [use(pool, cache, [n, n, n]) for n in range(4)]
    for at in (0, 1, 3):
        pool.release(slots[at])
    pool.reserve(100)
    assert (cache.num_slots, cache.capacity) == (2, 128)
    assert content(cache, slots[2]) == [2, 2, 2]
    assert pool.take([3, 3, 3, 0]).length == 3
    assert pool.take([1, 1, 1, 0]).length == 0


def test_the_budget_may_take_the_donor_itself(cache: SlotCache) -> None:
    pool = SlotPool(cache, max_bytes=0, max_length=512)
    first = use(pool, cache, [1, 2, 3, 4])
    pool.release(first)
    second = use(pool, cache, [1, 2, 9])
    assert second is first
    assert content(cache, second) == [1, 2, 9]
    assert cache.num_slots == 1


def test_capacity_stops_at_the_longest_context(cache: SlotCache) -> None:
    pool = SlotPool(cache, max_bytes=0, max_length=100)
    pool.reserve(65)
    assert cache.capacity == 100


@pytest.mark.parametrize("wanted", [[3, 1], [0, 1], [2], [3, 2, 1, 0], [0, 3]])
def test_slots_move_to_the_front(pool: SlotPool, cache: SlotCache, wanted: list[int]) -> None:
    slots = [use(pool, cache, [n] * (n + 1)) for n in range(4)]
    pool.move_to_front([slots[n] for n in wanted])
    assert sorted(slots[n].index for n in wanted) == list(range(len(wanted)))
    assert [content(cache, slot) for slot in slots] == [[n] * (n + 1) for n in range(4)]


def test_forgotten_slots_are_not_taken_over(pool: SlotPool, cache: SlotCache) -> None:
    slot, running = use(pool, cache, [1, 2, 3]), use(pool, cache, [4, 5])
    pool.release(slot)
    pool.forget()
    assert pool.take([1, 2, 3, 4]).length == 0
    assert running.length == 2


def test_content_that_cannot_be_trusted_is_not_taken_over(pool: SlotPool, cache: SlotCache) -> None:
    slot = use(pool, cache, [1, 2, 3])
    pool.release(slot, keep=False)
    assert cache.layers[0].keys[slot.index].abs().sum() == 0
    assert pool.take([1, 2, 3, 4]).length == 0


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)), st.integers(0, 9))
def test_common_prefix(one: list[int], other: list[int], limit: int) -> None:
    limit = min(limit, len(one), len(other))
    pairs = list(zip(one, other, strict=False))[:limit]
    expected = next((at for at, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert common_prefix(one, other, limit) == expected


@pytest.mark.parametrize(
    ("slots", "expected"), [([2, 3, 4], slice(2, 5)), ([2, 4], None), ([3, 2], None)]
)
def test_consecutive(slots: list[int], expected: slice | None) -> None:
    assert consecutive(slots) == expected


@given(st.lists(st.integers(2, 300), max_size=12), st.integers(2, 400))
def test_chunks_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    parts = [RowChunk(None, length) for length in lengths]
    groups = group_chunks(parts, budget)
    taken = [part.length for group in groups for part in group]
    assert sum(taken) <= budget
    assert sorted(taken) == sorted(
        [*lengths[: len(taken) - 1], min(lengths[len(taken) - 1], budget)] if taken else []
    )
    assert bool(taken) == bool(lengths)
    for group in groups:
        positions = group[0].length * len(group)
        assert positions <= budget
        assert positions <= 1.25 * sum(part.length for part in group)


def test_padding_is_not_written(cache: SlotCache) -> None:
    cache.resize(2, 8)
    fill(cache, 1, [9.0] * 8)
    cache.place(make_placement([0, 1], [0, 2], [4, 2], CPU))
    new = torch.full((2, 1, 4, 4), 5.0, dtype=torch.float64)
    keys, _ = cache.update(new, new, 0)
    assert keys.shape == (2, 1, 4, 4)
    assert cache.layers[0].keys[1, 0, :, 0].tolist() == [9, 9, 5, 5, 9, 9, 9, 9]


def test_a_failed_resize_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SlotCache(num_layers=2)
    cache.resize(1, 4)
    cache.place(make_placement([0], [0], [3], CPU))
    new = torch.arange(3.0).reshape(1, 1, 3, 1)
    for layer in range(2):
        cache.update(new, new, layer)
    with monkeypatch.context() as patched:
        patched.setattr(cache.layers[1], "resize", raising(torch.OutOfMemoryError("full")))
        with pytest.raises(torch.OutOfMemoryError):
            cache.resize(2, 8)
    assert (cache.num_slots, cache.capacity) == (1, 4)
    cache.resize(2, 8)
    for layer in cache.layers:
        assert layer.keys.shape == (2, 1, 8, 1)
        assert layer.keys[0, 0, :3, 0].tolist() == [0, 1, 2]


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("failing", range(3))
def test_a_swap_that_runs_out_of_memory_mixes_no_slots(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    cache = SlotCache(num_layers=2)
    cache.resize(2, 64)
    for slot in range(2):
        for layer in range(2):
            cache.place(make_placement([slot], [0], [3], CPU))
            new = torch.full((1, 1, 3, 4), float(1 + slot))
            cache.update(new, -new, layer)
    calls = iter(range(100))

    def scarce(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def make_or_fail(*args: Any, **kwargs: Any) -> torch.Tensor:
            if next(calls) == failing:
                raise torch.OutOfMemoryError("full")
            return make(*args, **kwargs)

        return make_or_fail

    with monkeypatch.context() as patch, suppress(torch.OutOfMemoryError):
        patch.setattr(torch.Tensor, "clone", scarce(torch.Tensor.clone))
        patch.setattr(torch, "empty_like", scarce(torch.empty_like))
        cache.swap(0, 1, 3)
    found = {tensor[0, 0, 0, 0].abs().item() for layer in cache.layers for tensor in layer.tensors}
    assert len(found) == 1
