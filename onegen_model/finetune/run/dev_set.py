"""Measures a development set during a run, and stops the run early."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.survey import Subset
from onegen_model.finetune.loss.gather import gather_rows, world_size
from onegen_model.finetune.loss.losses import NO_TARGET, LossSettings, count_targets
from onegen_model.finetune.settings import CHECKED, Number

logger = logging.getLogger(__name__)

DevMetric = Literal["loss", "language_modeling_loss", "contrastive_loss", "recall@1"]
LARGER_IS_BETTER = ("recall@1",)


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """The conditions of early stopping."""

    __pydantic_config__ = CHECKED

    patience: int = 3
    """The run ends after this many evaluations in a row without a gain; 1 or more."""
    min_delta: Number = 0.0
    """A gain is more than this; 0 or more."""


@dataclass(frozen=True, slots=True)
class Development:
    """Examples to measure on; the collator is over their passages."""

    examples: Subset
    collator: Collator

    def require(self, metric: DevMetric) -> None:
        """Raise InvalidInputError if the metric applies to no example."""
        examples = [self.examples[number] for number in range(len(self.examples))]
        writes = any(example.writes for example in examples)
        searches = any(target.positives for example in examples for target in example.targets)
        if metric == "language_modeling_loss" and not writes:
            what, choice = "a written token", "contrastive_loss or recall@1"
        elif metric in ("contrastive_loss", "recall@1") and not searches:
            what, choice = "a retrieval with positives", "language_modeling_loss"
        else:
            return
        raise InvalidInputError(
            f"dev_metric is {metric}, and no example of dev has {what}; expected at least one; "
            f"choose {choice}, or correct the file"
        )


def own_batches(
    num_examples: int, batch_size: int, rank: int, world: int
) -> tuple[list[list[int]], int]:
    """The batches that one of `world` processes evaluates, and how many of them count.

    Together they are those of a single process. A process with one batch less repeats its first
    without counting it, because ZeRO needs the same number of calls everywhere.
    """
    starts = range(0, num_examples, batch_size)
    batches = [list(range(at, min(at + batch_size, num_examples))) for at in starts]
    own = batches[rank::world]
    missing = -(-len(batches) // world) - len(own)
    return own + batches[:1] * missing, len(own)


class DevMetrics:
    """Sums over the batches of one process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Both losses, target tokens, queries with a target.
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._searches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._passages: list[Tensor] = []
        self._keys: list[Tensor] = []

    def add(self, inputs: Mapping[str, Any], outputs: Mapping[str, Tensor], counts: bool) -> None:
        """Add a batch of `Collator` and the outputs of `Objective` for it, its losses as sums."""
        queries, passages = outputs["queries"].float(), outputs["passages"].float()
        if not counts:
            # Only the shapes are needed: a process may have no batch of its own.
            self._passages.append(passages[:0])
            self._keys.append(inputs["passage_keys"][:0])
            return
        labels = torch.cat([chunk["labels"] for chunk in inputs["transcripts"]])
        losses = [outputs[part].item() for part in ("language_modeling_loss", "contrastive_loss")]
        self._sums[:2] += torch.tensor(losses, dtype=torch.float64)
        self._sums[2:] += count_targets(labels, inputs["targets"])
        self._searches.append((queries, inputs["targets"], inputs["positive_keys"]))
        self._passages.append(passages)
        self._keys.append(inputs["passage_keys"])

    def result(self, settings: LossSettings) -> dict[str, float]:
        """The means over the batches of all processes, which must call this together."""
        passages, keys = torch.cat(self._passages), torch.cat(self._keys)
        if world_size() > 1:
            passages, keys = gather_rows(passages)[0], gather_rows(keys)[0]
        hits = sum(_count_hits(*search, passages, keys) for search in self._searches)
        totals = torch.cat([self._sums, torch.tensor([hits], dtype=torch.float64)])
        totals = totals.to(self._device, torch.float32)
        if world_size() > 1:
            torch.distributed.all_reduce(totals)
        writing, searching, tokens, searches, found = totals.tolist()
        writing, searching = writing / max(tokens, 1.0), searching / max(searches, 1.0)
        measured = {
            "loss": settings.language_modeling_weight * writing
            + settings.contrastive_weight * searching,
            "language_modeling_loss": writing,
            "contrastive_loss": searching,
        }
        # A run without the contrastive loss embeds no passage.
        if searches and settings.contrastive_weight:
            measured["recall@1"] = found / searches
            measured["passages"] = len(keys.unique())
        return measured


def _count_hits(
    queries: Tensor, targets: Tensor, positive_keys: Tensor, passages: Tensor, keys: Tensor
) -> int:
    """The number of queries whose nearest passage is one of their positives."""
    if not len(passages):
        return 0
    nearest = keys[(queries @ passages.T).argmax(dim=1)]
    found = (positive_keys == nearest.unsqueeze(1)).any(dim=1)
    return int((found & (targets != NO_TARGET)).sum())


class Patience(EarlyStoppingCallback):
    """Early stopping whose count is resumed; a run that it ended ends again."""

    def __init__(self, settings: EarlyStopping) -> None:
        super().__init__(settings.patience, settings.min_delta)
        self._began_at = 0  # the evaluation of `trainer.eval_on_start` at this step does not count

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call]
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        self._began_at = state.global_step
        logged = {log["step"]: log[name] for log in state.log_history if name in log}
        values = [value for step, value in logged.items() if step]
        larger = bool(args.greater_is_better)
        count = evaluations_without_gain(values, self.early_stopping_threshold or 0.0, larger)
        self.early_stopping_patience_counter = count
        if count >= self.early_stopping_patience:
            logger.warning(
                "Early stopping ended this run at step %d; raise early_stopping.patience to "
                "continue",
                state.global_step,
            )
            control.should_training_stop = True

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        if state.global_step != self._began_at:
            super().on_evaluate(args, state, control, metrics, **kwargs)  # type: ignore[no-untyped-call]


def evaluations_without_gain(
    values: Iterable[float], min_delta: float, larger_is_better: bool
) -> int:
    """The number of last values in a row without a gain of more than `min_delta`."""
    best, count = None, 0
    for value in values if larger_is_better else (-value for value in values):
        count = 0 if best is None or value - best > min_delta else count + 1
        best = value if best is None else max(best, value)
    return count


def evaluation_arguments(chosen: Mapping[str, Any], metric: DevMetric) -> dict[str, Any]:
    """The Trainer's arguments with those of a development set; raises InvalidInputError.

    The best model is loaded from a checkpoint, so each evaluated step is saved.
    """
    added = {
        "eval_strategy": "steps",
        "save_strategy": chosen.get("eval_strategy", "steps"),
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": metric in LARGER_IS_BETTER,
        "per_device_eval_batch_size": chosen.get("per_device_train_batch_size", 8),
        **chosen,
    }
    if added["eval_strategy"] == added["save_strategy"] == "steps":
        given = [chosen[name] for name in ("eval_steps", "save_steps") if name in chosen]
        if len(set(given)) > 1:
            raise InvalidInputError(
                f"trainer.eval_steps is {given[0]} and trainer.save_steps {given[1]}; expected the "
                "same, because only a step that is saved can be kept as the best; leave one out"
            )
        added |= dict.fromkeys(("eval_steps", "save_steps"), given[0] if given else 500)
    return added


def kept_evaluation(state: TrainerState) -> Mapping[str, float] | None:
    """The log of the evaluation whose model a run kept; None if it kept its last step."""
    if state.best_model_checkpoint is None:
        return None
    step = int(Path(state.best_model_checkpoint).name.rpartition("-")[2])
    found = [log for log in state.log_history if "eval_loss" in log and log["step"] == step]
    return found[-1] if found else None
