"""What stops a run: losses and gradients that are no numbers, and memory that runs out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

from transformers import TrainerCallback

from onegen_model.errors import OneGenError, is_out_of_memory

_SHOWN = 8


class TrainingError(OneGenError, RuntimeError):
    """A run that cannot go on; what it saved before stays as it is."""


def require_finite(parts: dict[str, float], step: int, ids: Sequence[str]) -> None:
    """Raise TrainingError for a part that is no number, with the examples it comes from."""
    for name, value in parts.items():
        if not isfinite(value):
            raise TrainingError(
                f"The {name} is {value} at step {step}, in a batch of the examples {_named(ids)}; "
                "expected a number; lower trainer.learning_rate, compute in float32 or bfloat16 "
                "instead of float16, and look at these examples"
            )


@contextmanager
def memory_named(step: int, ids: Sequence[str]) -> Iterator[None]:
    """Raise TrainingError, which says what to turn, where memory runs out."""
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
    """Knows when the optimizer is at work, whose memory depends on what learns, not on a batch.

    DeepSpeed takes its step within the backward pass, which is told as a batch's.
    """

    def __init__(self) -> None:
        self._step: int | None = None  # while it is at work

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = state.global_step + 1

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Raise TrainingError, which says what to turn, where the optimizer's memory runs out."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if self._step is None or not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"Out of memory in the optimizer, at step {self._step}; expected what it keeps of "
                "each learning parameter to fit; lower adapter.rank or adapter.top_layers, choose "
                "method lora, set trainer.optim (adafactor keeps less), or share it out with "
                "trainer.deepspeed"
            ) from error


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(map(repr, ids[:_SHOWN])) + more
