"""Batches of similar lengths within a budget of positions."""

from hypothesis import given
from hypothesis import strategies as st

from onegen_model.batches import batches_by_length


@given(lengths=st.lists(st.integers(0, 30), max_size=40), positions=st.integers(1, 100))
def test_batches_hold_everything_once_and_keep_to_the_budget(
    lengths: list[int], positions: int
) -> None:
    batches = list(batches_by_length(lengths, positions))
    order = [at for batch in batches for at in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda at: (-lengths[at], at))
    for batch in batches:
        longest = max(lengths[at] for at in batch)
        assert len(batch) == 1 or len(batch) * longest <= positions
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > positions
