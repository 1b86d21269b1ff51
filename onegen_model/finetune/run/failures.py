"""Failures that stop a run: losses and gradients that are not finite, and lack of memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

from transformers import TrainerCallback

from onegen_model.errors import OneGenError, is_out_of_memory

_SHOWN = 8


class TrainingError(OneGenError, RuntimeError):
    """A run that cannot continue; its earlier checkpoints remain."""


def require_finite(parts: dict[str, float], step: int, ids: Sequence[str]) -> None:
    """Raise TrainingError for a value that is not finite, naming the examples of its batch."""
    for name, value in parts.items():
        if not isfinite(value):
            raise TrainingError(
                f"The {name} is {value} at step {step}, in a batch of the examples {_named(ids)}; "
                "expected a number; lower trainer.learning_rate, compute in float32 or bfloat16 "
                "instead of float16, and look at these examples"
            )


@contextmanager
def memory_named(step: int, ids: Sequence[str]) -> Iterator[None]:
    """Turn a lack of memory into a TrainingError that names the settings to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"Out of memory at step {step}, in a batch of the examples {_named(ids)}; expected it "
            "to fit; halve trainer.per_device_train_batch_size and double "
            "trainer.gradient_accumulation_steps, set trainer.gradient_checkpointing, or lower "
            "collator.max_length or collator.num_negatives"
        ) from error


class OptimizerMemory(TrainerCallback):
    """Callback that separates a lack of memory in the optimizer from one in a batch, because the
    former depends on the number of trained parameters.

    DeepSpeed steps within the backward pass, and its failures are reported as those of a batch.
    """

    def __init__(self) -> None:
        self._step: int | None = None  # while the optimizer steps

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = state.global_step + 1

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turn a lack of memory in the optimizer into a TrainingError that names what to change."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if self._step is None or not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"Out of memory in the optimizer, at step {self._step}; expected its state for "
                "each trained parameter to fit; lower adapter.rank or adapter.top_layers, choose "
                "method lora, set trainer.optim (adafactor keeps less), or split it with "
                "trainer.deepspeed"
            ) from error


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(map(repr, ids[:_SHOWN])) + more
