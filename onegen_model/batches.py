"""Batches of sequences of similar length, so that little is padded."""

from collections.abc import Iterator, Sequence

# Positions of one forward, padding included: small enough to stay in a CPU's caches.
BATCH_TOKENS = 2048


def batches_by_length(lengths: Sequence[int], positions: int) -> Iterator[list[int]]:
    """Indices into `lengths`, the longest first, equal lengths in their order.

    A padded batch has at most `positions` positions, and at least one sequence.
    """
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    start = 0
    while start < len(order):
        count = max(1, positions // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
