"""Both losses in ONE `nn.Module.forward`.

Whatever wraps it (DDP, DeepSpeed) sees every parameter used in one call; computing a loss outside
the wrapper desynchronises ranks without an error.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onegen_model.finetune.losses import (
    contrastive_loss,
    joint_loss,
    language_modeling_loss,
)
from onegen_model.network import normalise, read, read_hidden

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Objective(nn.Module):
    """A network with the joint loss on top; `temperature` divides cosines."""

    def __init__(
        self,
        network: "PreTrainedModel",
        *,
        temperature: float = 0.05,
        contrastive_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self.temperature = temperature
        self.contrastive_weight = contrastive_weight

    def forward(
        self,
        transcripts: list[dict[str, Tensor]],
        passages: list[dict[str, Tensor]],
        targets: Tensor,
        excluded: Tensor,
    ) -> dict[str, Any]:
        """A batch of `Collator`; returns `loss` and its two parts, detached."""
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
        asked = torch.cat(queries)
        # A batch may train the language model alone: then there is nothing to embed.
        embedded = torch.cat([asked[:0], *(self._embed(chunk) for chunk in passages)])
        losses = joint_loss(
            language_modeling_loss(torch.cat(logits), torch.cat(labels)),
            contrastive_loss(asked, embedded, targets, excluded, self.temperature),
            self.contrastive_weight,
        )
        return {
            "loss": losses.total,
            "language_modeling_loss": losses.language_modeling,
            "contrastive_loss": losses.contrastive,
        }

    def _embed(self, chunk: dict[str, Tensor]) -> Tensor:
        at = (chunk["rows"], chunk["columns"])
        return normalise(read_hidden(self.network, chunk["input_ids"], chunk["attention_mask"], at))
