"""Chunks of a batch: rows of similar length that go through the network in one forward pass."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from onegen_model.finetune.data.datasets import Example
from onegen_model.network import pad_rows
from onegen_model.transcript.renderer import Rendered

T = TypeVar("T")

# A forward pass of fewer tokens takes longer for its calls than for its tokens.
_SMALL = 128


def chunks(
    items: Sequence[T], length: Callable[[T], int], limit: int, max_padding: float = 1.0
) -> list[list[T]]:
    """Cut items, sorted by length, so that a chunk padded to its longest holds <= limit tokens.

    A share of at most `max_padding` of a chunk of more than `_SMALL` tokens is padding.
    """
    cut: list[list[T]] = []
    real = 0
    for item in items:
        padded = (len(cut[-1]) + 1) * length(item) if cut else 0
        is_wasteful = padded > _SMALL and 1 - (real + length(item)) / padded > max_padding
        if cut and padded <= limit and not is_wasteful:
            cut[-1].append(item)
            real += length(item)
        else:
            cut.append([item])
            real = length(item)
    return cut


def transcript_chunk(pairs: Sequence[tuple[Rendered, Example]]) -> dict[str, Tensor]:
    """Ids, and where to read: first the positions that predict `labels`, then the queries.

    An example that trains retrieval alone has no labels.
    """
    rows = [rendered for rendered, _ in pairs]
    predict = [
        (row, column - 1)
        for row, (rendered, example) in enumerate(pairs)
        if example.writes
        for column, written in enumerate(rendered.written)
        if written
    ]
    queries = [(row, column) for row, r in enumerate(rows) for column in r.query_positions]
    labels = [rows[row].ids[column + 1] for row, column in predict]
    at_rows, at_columns = torch.tensor(predict + queries).T
    return {
        **pad_rows([rendered.ids for rendered in rows], pad_id=0),
        "rows": at_rows,
        "columns": at_columns,
        "labels": torch.tensor(labels, dtype=torch.long),
    }


def passage_chunk(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Ids, and where to read: at the last id of each row."""
    lengths = torch.tensor([len(row) for row in rows])
    padded = pad_rows(rows, pad_id=0)
    return {**padded, "rows": torch.arange(len(rows)), "columns": lengths - 1}
