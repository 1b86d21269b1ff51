"""A Hugging Face Trainer for `Objective`."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.loss.losses import count_targets
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.dev_set import Development, DevMetrics, own_batches
from onegen_model.finetune.run.failures import OptimizerMemory, memory_named, require_finite
from onegen_model.finetune.run.trainable import load_trained, save_trained

logger = logging.getLogger(__name__)

LOSS_PARTS = ("language_modeling_loss", "contrastive_loss")


def set_rates(scheduler: LambdaLR, base_rates: Sequence[float]) -> None:
    """Give the groups of an optimizer the learning rates that the next step should have."""
    scheduler.base_lrs = list(base_rates)
    groups = scheduler.optimizer.param_groups
    for group, rate, factor in zip(groups, base_rates, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = rate
        group["lr"] = rate * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]


class JointTrainer(Trainer):
    """Trainer that divides sums by the counts of all micro-batches and processes of a step, logs
    both losses, measures on a development set, and saves the trained parameters alone.
    """

    # Each micro-batch returns its share of the step's mean.
    loss_is_scaled_for_ga = True

    def __init__(self, *, development: Development | None = None, **kwargs: Any) -> None:
        super().__init__(eval_dataset=development and development.examples, **kwargs)
        self._development = development
        self._began: float | None = None  # so that with a resumed run's seconds it is their sum
        self._sums = dict.fromkeys(LOSS_PARTS, 0.0)
        self._since: int | None = None  # the step before the sums began
        self._ids: list[str] = []  # the examples of the step
        self.has_trained = False  # whether `train` has taken a step
        self._optimizer_memory = OptimizerMemory()
        self.add_callback(self._optimizer_memory)

    def _init_training_state(self, max_steps: int, *args: Any) -> Any:
        trained = super()._init_training_state(max_steps, *args)
        # A checkpoint holds when to log, evaluate and save; the recipe may have changed.
        self.state.compute_steps(self.args, max_steps)
        return trained

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # A checkpoint holds the learning rate of its recipe, which may have changed; after the last
        # step of a run it is 0, and the next step would use it.
        fresh = getattr(self.lr_scheduler, "scheduler", self.lr_scheduler)
        rates = list(getattr(fresh, "base_lrs", []))
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and not self.is_deepspeed_enabled and isinstance(fresh, LambdaLR):
            set_rates(fresh, rates)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of a step, and (target tokens, queries with a target) for each process.

        A process divides its sums by the mean over processes, because gradients are averaged.
        """
        if self._began is None:
            before = max((log.get("seconds", 0.0) for log in self.state.log_history), default=0.0)
            self._began = time.monotonic() - before
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._ids = [name for batch in batches for name in batch["ids"]]
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

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Called before each step of the optimizer (with DeepSpeed after it, and before a save);
        raises TrainingError for a norm that is not finite.
        """
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        # With float16 such a step is skipped, and the loss scale lowered.
        if norm is not None and self.accelerator.mixed_precision != "fp16":
            # DeepSpeed returns -1 instead of inf or nan.
            value = float(norm) if norm >= 0 else float("nan")
            require_finite({"gradient norm": value}, self.state.global_step + 1, self._ids)
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._since is not None:
            steps = self.state.global_step - self._since
            own = torch.tensor([self._sums[part] for part in LOSS_PARTS], device=self.args.device)
            means = self.accelerator.reduce(own, reduction="mean") / steps
            logs |= dict(zip(LOSS_PARTS, means.tolist(), strict=True))
            self._sums, self._since = dict.fromkeys(LOSS_PARTS, 0.0), None
        if self._began is not None:
            logs["seconds"] = time.monotonic() - self._began
        super().log(logs, start_time)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> Any:
        # A finished run that is started again would take one more step.
        ended = self.state.global_step >= self.state.max_steps
        if not ended and not self.control.should_training_stop:
            self.has_trained = True
            cast(Collator, self.data_collator).set_epoch(kwargs["epoch"])
            with self._optimizer_memory.named():
                super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """This process's batches of the development set."""
        development, size = self._development, self.args.eval_batch_size
        if development is None:
            raise ValueError("JointTrainer has no development set")
        rank, world = self.args.process_index, self.args.world_size
        batches, _ = own_batches(len(development.examples), size, rank, world)
        return DataLoader(
            development.examples, batch_sampler=batches, collate_fn=development.collator
        )

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Both losses and recall@1 over all batches of all processes."""
        model = cast(Objective, self.model).eval()
        num_examples, size = len(dataloader.dataset), self.args.eval_batch_size  # type: ignore[arg-type]
        rank, world = self.args.process_index, self.args.world_size
        _, num_own = own_batches(num_examples, size, rank, world)
        tally = DevMetrics(self.args.device)
        with torch.no_grad():
            for number, batch in enumerate(dataloader):
                inputs = self._prepare_inputs(batch)
                # Divided by 1, the losses are sums.
                _, outputs = self.compute_loss(model, inputs, True, torch.ones(2))
                tally.add(inputs, outputs, number < num_own)
        measured = tally.result(model.settings)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        return EvalLoopOutput(None, None, metrics, num_examples)  # type: ignore[arg-type]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        network = self._objective.network
        if state_dict is not None:
            # DeepSpeed gathered it from all ranks; names start with that of the wrapper.
            state_dict = {name.removeprefix("network."): v for name, v in state_dict.items()}
        save_trained(network, Path(output_dir or str(self.args.output_dir)), state_dict)

    def _save_rng_state(self, output_dir: str) -> None:
        # Each process has its own.
        super()._save_rng_state(output_dir)
        self._objective.memory.save(self._memory_file(output_dir))
        # The next file marks a complete checkpoint, and other processes may still be writing.
        self.accelerator.wait_for_everyone()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint is None:
            return
        rank, memory = self.args.process_index, self._objective.memory
        rng = f"rng_state_{rank}.pth" if self.args.world_size > 1 else "rng_state.pth"
        wanted = [Path(checkpoint) / rng, *([self._memory_file(checkpoint)] if memory.size else [])]
        if missing := [file.name for file in wanted if not file.is_file()]:
            logger.warning(
                "%s has no %s: it was saved by another number of processes or with weights "
                "alone, or it was removed; process %d resumes without it",
                *(checkpoint, " and no ".join(missing), rank),
            )
        memory.load(self._memory_file(checkpoint))

    def _memory_file(self, folder: str) -> Path:
        return Path(folder) / f"passage_memory_{self.args.process_index}.pt"

    @property
    def _objective(self) -> Objective:
        return cast(Objective, self.accelerator.unwrap_model(self.model))

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            # The Trainer looks for other file names than those of `save_trained`.
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self._objective.network, Path(resume_from_checkpoint))
