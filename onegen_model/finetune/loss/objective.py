"""Both losses in one `nn.Module.forward`.

A wrapper (DDP, DeepSpeed) must see every parameter used in one call: a loss computed outside of it
desynchronises ranks without an error.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onegen_model.finetune.loss.cross_batch_memory import CrossBatchMemory
from onegen_model.finetune.loss.gather import gather_batch, world_size
from onegen_model.finetune.loss.losses import (
    LossSettings,
    bpr,
    count_targets,
    excluded_pairs,
    info_nce,
    joint_loss,
    language_modeling_loss,
)
from onegen_model.network import normalise, read, read_hidden

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULTS = LossSettings()


@dataclass(frozen=True, slots=True)
class Relations:
    """How queries and passages relate; the fields of `Collator`'s batch of these names."""

    targets: Tensor
    negatives: Tensor
    positive_keys: Tensor
    passage_keys: Tensor


class Objective(nn.Module):
    """A network with the joint loss on top."""

    def __init__(self, network: "PreTrainedModel", settings: LossSettings = DEFAULTS) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.settings = settings
        self.memory = CrossBatchMemory(settings.cross_batch_negatives)

    def forward(
        self,
        transcripts: list[dict[str, Tensor]],
        passages: list[dict[str, Tensor]],
        divisors: Tensor | None = None,
        ids: Any = None,
        **relations: Tensor,
    ) -> dict[str, Any]:
        """A batch of `Collator`; returns `loss`, and detached its two parts and the embeddings of
        `queries` (q, d) and `passages` (p, d).

        Sums are divided by `divisors`, (target tokens, queries with a target): the batch's own,
        unless it is one of many. `ids` are for messages.
        """
        related = Relations(**relations)
        logits, labels, queries = [], [], []
        for chunk in transcripts:
            at = (chunk["rows"], chunk["columns"])
            readout = read(
                self.network,
                at,
                input_ids=chunk["input_ids"],
                attention_mask=chunk["attention_mask"],
                use_cache=False,
            )
            count = len(chunk["labels"])
            logits.append(readout.logits[:count])
            labels.append(chunk["labels"])
            queries.append(normalise(readout.hidden[count:]))
        asked, said = torch.cat(queries), torch.cat(labels)
        # A batch, or a run, may train the language model alone; then no passage is embedded.
        chunks = passages if self.settings.contrastive_weight else ()
        embedded = torch.cat([asked[:0], *map(self._embed, chunks)])
        if divisors is None:
            divisors = count_targets(said, related.targets)
        tokens, searches = divisors.to(asked.device, torch.float32).clamp(min=1e-9)
        written = language_modeling_loss(torch.cat(logits), said) / tokens
        # Under `trainer: {bf16: true}` all of this is called in bfloat16, in which cosines divided
        # by the temperature come in steps of .06 to .125.
        with torch.autocast(asked.device.type, enabled=False):
            found = self._contrastive(asked, embedded, related) / searches
        losses = joint_loss(written, found, self.settings)
        return {
            "loss": losses.total,
            "language_modeling_loss": losses.language_modeling,
            "contrastive_loss": losses.contrastive,
            "queries": asked.detach(),
            "passages": embedded.detach(),
        }

    def _contrastive(self, queries: Tensor, passages: Tensor, related: Relations) -> Tensor:
        """Sum over the queries of this process."""
        settings = self.settings
        targets = related.targets
        if settings.contrastive == "bpr":
            scale = settings.bpr_scale
            return bpr(queries, passages, targets, related.negatives, scale).sum()
        keys, positive_keys = related.passage_keys, related.positive_keys
        own = slice(0, len(queries))
        # The result of an evaluation must not depend on the number of processes.
        if self.training and settings.cross_device_negatives and world_size() > 1:
            queries, passages, targets, keys, positive_keys, own = gather_batch(
                (queries, passages), (targets, keys, positive_keys)
            )
        if self.training and settings.cross_batch_negatives:
            passages, keys = self.memory.behind(passages, keys)
            self.memory.keep(passages, keys)
        excluded = excluded_pairs(targets, keys, positive_keys)
        losses = info_nce(queries, passages, targets, excluded, settings.temperature)
        # The gradient covers the queries of all processes, because they share passages; the value
        # covers the queries of this process alone.
        return losses.sum() + (losses[own].sum() - losses.sum()).detach()

    def _embed(self, chunk: dict[str, Tensor]) -> Tensor:
        at = (chunk["rows"], chunk["columns"])
        return normalise(read_hidden(self.network, chunk["input_ids"], chunk["attention_mask"], at))

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Called by the Trainer for `trainer: {activation_checkpointing: true}`."""
        self.network.activation_checkpointing_enable(**options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """The name of the same method in transformers before 5.23."""
        self.network.gradient_checkpointing_enable(**options)
