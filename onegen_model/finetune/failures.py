"""What stops a run: losses that are no numbers, and memory that runs out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from onegen_model.errors import OneGenError

_SHOWN = 8


class TrainingError(OneGenError, RuntimeError):
    """A run that cannot go on; what it saved before stays as it is."""


def require_finite(parts: dict[str, float], step: int, ids: Sequence[str]) -> None:
    """Raise TrainingError for a loss that is no number, with the examples it comes from."""
    for name, value in parts.items():
        if value != value or value in (float("inf"), float("-inf")):
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
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise TrainingError(
            f"Out of memory at step {step}, in a batch of the examples {_named(ids)}; expected it "
            "to fit; halve trainer.per_device_train_batch_size and double "
            "trainer.gradient_accumulation_steps, set trainer.gradient_checkpointing, or lower "
            "collator.max_length or collator.num_negatives"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator has no error class of its own.
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(map(repr, ids[:_SHOWN])) + more
