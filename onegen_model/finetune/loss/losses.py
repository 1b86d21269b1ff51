"""The losses as pure functions of logits and embeddings.

Each function returns a sum over tokens or one loss per query. The divisors are counted over all
processes and micro-batches of a step.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

Contrastive = Literal["info_nce", "bpr"]
NO_TARGET = -100


@dataclass(frozen=True, slots=True)
class LossSettings:
    """`contrastive` is "info_nce", whose cosines are divided by `temperature`, or "bpr", the
    paper's, whose cosines are multiplied by `bpr_scale`.

    The published code normalises along the sequence instead of the vector (its axis is off by
    one), so its scores are no cosines: they are larger by about width / padded length, 2 to 4 for
    its recipes. `bpr_scale` replaces that factor; at 1 the loss cannot fall below 0.13.

    `cross_device_negatives` lets the queries of each process see the passages of all, and
    `cross_batch_negatives` that many passages of the batches before (`CrossBatchMemory`); InfoNCE.
    """

    contrastive: Contrastive = "info_nce"
    temperature: float = 0.05
    bpr_scale: float = 3.0
    language_modeling_weight: float = 1.0
    contrastive_weight: float = 1.0
    cross_device_negatives: bool = False
    cross_batch_negatives: int = 0


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars; the backward pass starts from `total`."""

    total: Tensor
    language_modeling: Tensor
    contrastive: Tensor


def language_modeling_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross entropies of logits (n, vocabulary) against labels (n,); equation 1."""
    return cross_entropy(logits.float(), labels, reduction="sum")


def info_nce(
    queries: Tensor, passages: Tensor, targets: Tensor, excluded: Tensor, temperature: float
) -> Tensor:
    """Loss of each query (q,): unit vectors (q, d) against all passages (p, d) of the batch.

    `targets` (q,) index the positives; `excluded` (q, p) marks pairs that count neither way, see
    `excluded_pairs`. A query whose target is NO_TARGET has loss 0.
    """
    if not len(passages):
        return queries.sum(dim=-1) * 0.0
    # A row that trains nothing stays open: with every pair masked its gradient would not exist.
    excluded = excluded & (targets != NO_TARGET).unsqueeze(1)
    scores = (queries @ passages.T).masked_fill(excluded, float("-inf")) / temperature
    return cross_entropy(scores, targets, ignore_index=NO_TARGET, reduction="none")


def bpr(
    queries: Tensor, passages: Tensor, targets: Tensor, negatives: Tensor, scale: float
) -> Tensor:
    """Loss of each query (q,): mean over its negatives of -log sigmoid(scale * (s+ - s-)).

    s are cosines of unit vectors (q, d) and (p, d); `negatives` (q, p) marks each query's own. A
    query without a target or without negatives has loss 0; paper section 3.3.
    """
    if not len(passages):
        return queries.sum(dim=-1) * 0.0
    scores = queries @ passages.T
    positive = scores.gather(1, targets.clamp(min=0).unsqueeze(1))
    used = negatives & (targets != NO_TARGET).unsqueeze(1)
    # softplus(x) is -log sigmoid(-x), without the overflow.
    losses = softplus(scale * (scores - positive)) * used
    return losses.sum(dim=1) / used.sum(dim=1).clamp(min=1)


def excluded_pairs(targets: Tensor, passage_keys: Tensor, positive_keys: Tensor) -> Tensor:
    """The pairs (q, p) that count neither as the positive nor as a negative.

    Passages with the same content have the same key (p,). Excluded are a query's other positives,
    whose keys are `positive_keys` (q, m), and all but the first copy of a passage.
    """
    same = passage_keys.unsqueeze(0) == passage_keys.unsqueeze(1)
    repeated = same.tril(diagonal=-1).any(dim=1)
    positive = (positive_keys.unsqueeze(2) == passage_keys).any(dim=1)
    excluded = positive | repeated
    rows = (targets != NO_TARGET).nonzero().flatten()
    excluded[rows, targets[rows]] = False
    return excluded


def joint_loss(language_modeling: Tensor, contrastive: Tensor, settings: LossSettings) -> Losses:
    """L = w_g L_g + w_r L_r; paper section 3.3, where both weights are 1."""
    total = (
        settings.language_modeling_weight * language_modeling
        + settings.contrastive_weight * contrastive
    )
    return Losses(total, language_modeling.detach(), contrastive.detach())


def count_targets(labels: Tensor, targets: Tensor) -> Tensor:
    """(target tokens, queries with a target) of a batch: the divisors of its sums."""
    return torch.stack([torch.tensor(len(labels)), (targets != NO_TARGET).sum().cpu()])
