"""Gathering of rows from all processes; a process's own rows keep their gradient."""

import torch
from accelerate.utils import gather, pad_across_processes
from torch import Tensor
from torch import distributed as dist

from onegen_model.finetune.loss.losses import NO_TARGET


def world_size() -> int:
    """The number of processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor, fill: int = 0) -> tuple[Tensor, list[int]]:
    """Rows (n, …) of all processes in order of rank, and the number of rows of each.

    Ranks may differ in n and, for 2-d integers, in width; shorter rows are padded with `fill`.
    """
    counts: list[int] = gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = rows.detach()
    for dim in reversed(range(rows.dim())):
        padded = pad_across_processes(padded, dim=dim, pad_index=fill)
    parts = gather(padded.contiguous()).split(len(padded))
    kept = [part[:count] for part, count in zip(parts, counts, strict=True)]
    if rows.requires_grad:
        kept[dist.get_rank()] = rows
    return torch.cat(kept), counts


def gather_batch(
    embedded: tuple[Tensor, Tensor], named: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, slice]:
    """The batches of all processes as one batch.

    Takes (queries, passages) and (targets, passage keys, positive keys); returns the five in that
    order and which of the queries are this process's. Targets count columns of all passages.
    """
    queries, passages = embedded
    targets, keys, positive_keys = named
    rank = dist.get_rank()
    all_passages, passage_counts = gather_rows(passages)
    before = sum(passage_counts[:rank])
    shifted = torch.where(targets == NO_TARGET, targets, targets + before)
    all_queries, query_counts = gather_rows(queries)
    start = sum(query_counts[:rank])
    return (
        all_queries,
        all_passages,
        gather_rows(shifted)[0],
        gather_rows(keys)[0],
        gather_rows(positive_keys)[0],
        slice(start, start + query_counts[rank]),
    )
