"""Loss and gradients of one process, or of two that share a batch as DDP would have them."""

from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch import distributed as dist

from onegen_model.finetune.loss.objective import Objective
from tests.support.processes import fork_two, server


def gradients(objective: Objective, batch: dict[str, Any], **options: Any) -> tuple[float, Tensor]:
    outputs = objective(**batch, **options)
    outputs["loss"].backward()
    found = [p.grad for p in objective.parameters() if p.grad is not None]
    return outputs["loss"].item(), torch.cat([g.flatten() for g in found])


def _work(objective: Objective, batch: dict[str, Any], results: Any) -> None:
    PartialState(cpu=True)
    counts = torch.tensor(
        [sum(len(c["labels"]) for c in batch["transcripts"]), len(batch["targets"])]
    ).double()
    dist.all_reduce(counts)
    loss, gradient = gradients(objective, batch, divisors=counts / 2)
    value = torch.tensor(loss, dtype=torch.float64)
    for tensor in (value, gradient):
        dist.all_reduce(tensor)
    if dist.get_rank() == 0:
        results.put((value.item() / 2, (gradient / 2).numpy()))
    dist.barrier()
    dist.destroy_process_group()


def gradients_of_two(
    objective: Objective, batches: tuple[dict[str, Any], dict[str, Any]]
) -> tuple[float, Tensor]:
    """The loss and the gradients, averaged over two processes with one batch each."""
    context = server()
    results = context.Queue()
    workers = fork_two(_work, [(objective, batch, results) for batch in batches])
    try:
        loss, gradient = results.get(timeout=120)
    finally:
        for worker in workers:
            worker.join(timeout=10)
            worker.kill()
    return loss, torch.from_numpy(gradient)
