"""A Hugging Face Trainer around `Objective`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from onegen_model.finetune.failures import memory_named, require_finite
from onegen_model.finetune.losses import count_targets
from onegen_model.finetune.methods import load_trained, save_trained

LOSS_PARTS = ("language_modeling_loss", "contrastive_loss")


class JointTrainer(Trainer):
    """Divides sums by what all micro-batches and processes of a step hold, logs both losses apart,
    and saves what learns without what does not.
    """

    # Each micro-batch returns its share of the step's mean.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sums = dict.fromkeys(LOSS_PARTS, 0.0)
        self._since: int | None = None  # the step before the sums began

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of a step, and (target tokens, queries with a target) for each process.

        What a process divides its sums by is the mean over processes, because gradients are
        averaged over them.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(2, dtype=torch.float64)
        for batch in batches:
            labels = torch.cat([chunk["labels"] for chunk in batch["transcripts"]])
            counts += count_targets(labels.cpu(), batch["targets"].cpu())
        shared = self.accelerator.reduce(counts.to(device, torch.float32), reduction="mean")
        return batches, shared

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        step = self.state.global_step + 1
        with memory_named(step, inputs["ids"]):
            outputs = model(**inputs, divisors=num_items_in_batch)
        if model.training:
            parts = {part: outputs[part].item() for part in LOSS_PARTS}
            require_finite(parts, step, inputs["ids"])
            if self._since is None:
                self._since = self.state.global_step
            for part, value in parts.items():
                self._sums[part] += value
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        with memory_named(self.state.global_step + 1, inputs["ids"]):
            return super().training_step(model, inputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._since is not None:
            steps = self.state.global_step - self._since
            own = torch.tensor([self._sums[part] for part in LOSS_PARTS], device=self.args.device)
            means = self.accelerator.reduce(own, reduction="mean") / steps
            logs |= dict(zip(LOSS_PARTS, means.tolist(), strict=True))
            self._sums, self._since = dict.fromkeys(LOSS_PARTS, 0.0), None
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        network = self.accelerator.unwrap_model(self.model).network
        if state_dict is not None:
            # From DeepSpeed, which gathers what the ranks hold; names begin with the wrapper's.
            state_dict = {name.removeprefix("network."): v for name, v in state_dict.items()}
        save_trained(network, Path(output_dir or str(self.args.output_dir)), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        network = self.accelerator.unwrap_model(self.model).network
        load_trained(network, Path(resume_from_checkpoint))
