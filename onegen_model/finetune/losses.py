"""The two losses, as pure functions of logits and embeddings."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars. `total` is what is differentiated."""

    total: Tensor
    language_modeling: Tensor
    contrastive: Tensor


def language_modeling_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of logits (n, vocabulary) against labels (n,); paper equation 1."""
    return cross_entropy(logits.float(), labels)


def contrastive_loss(
    queries: Tensor, passages: Tensor, targets: Tensor, excluded: Tensor, temperature: float
) -> Tensor:
    """InfoNCE over unit vectors: queries (q, d) against all passages (p, d) of the batch.

    `targets` (q,) index the positives; `excluded` (q, p) marks pairs that are neither, such as a
    question's other gold passages; a target of -100 is left out. Zero when none is left.
    """
    if not (targets >= 0).any():
        return queries.sum() * 0.0
    scores = (queries @ passages.T) / temperature
    return cross_entropy(scores.masked_fill(excluded, float("-inf")), targets)


def joint_loss(language_modeling: Tensor, contrastive: Tensor, contrastive_weight: float) -> Losses:
    """L = L_g + lambda_r L_r; paper section 3.3."""
    total = language_modeling + contrastive_weight * contrastive
    return Losses(total, language_modeling.detach(), contrastive.detach())
