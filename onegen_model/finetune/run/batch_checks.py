"""Checks of the batches of a run, before it starts."""

import logging

from transformers import TrainingArguments

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.datasets import Example
from onegen_model.finetune.data.survey import Subset
from onegen_model.finetune.run.recipe import Recipe

logger = logging.getLogger(__name__)


def require_batch(num_examples: int, arguments: TrainingArguments) -> None:
    """Raise InvalidInputError where `dataloader_drop_last` leaves nothing to train on."""
    size = arguments.train_batch_size * arguments.world_size
    if arguments.dataloader_drop_last and num_examples < size:
        raise InvalidInputError(
            f"trainer.dataloader_drop_last is true, and {num_examples} examples fill no batch of "
            f"{size}; expected at least as many; lower trainer.per_device_train_batch_size, or "
            "leave dataloader_drop_last out"
        )


def warn_of_lone_pairs(recipe: Recipe, examples: Subset, arguments: TrainingArguments) -> None:
    """Log a warning where a batch holds one pair with nothing to compare it with.

    InfoNCE compares a query with the other passages of its batch: alone, a pair without negatives
    has loss 0, and its step changes no weight.
    """
    size = arguments.per_device_train_batch_size
    last = len(examples) % size if arguments.world_size == 1 else 0
    is_lone = size == 1 or (last == 1 and not arguments.dataloader_drop_last)
    if not is_lone or recipe.contrastive == "bpr" or recipe.cross_batch_negatives:
        return
    if size == 1 and arguments.world_size > 1 and recipe.cross_device_negatives:
        return
    lone = [
        number
        for number in range(len(examples))
        if _is_lone(examples[number], recipe.collator.num_negatives)
    ]
    if lone:
        which = "Each batch" if size == 1 else "The last batch of each epoch"
        logger.warning(
            "%s holds one example, and %d of %d have nothing to be compared with there: it would "
            "train nothing; change trainer.per_device_train_batch_size (now %d), add negatives "
            "(`onegen mine`), or set trainer.dataloader_drop_last",
            *(which, len(lone), len(examples), size),
        )


def _is_lone(example: Example, num_negatives: int) -> bool:
    """Whether an example trains one retrieval alone, without negatives."""
    negatives = [negative for target in example.targets for negative in target.negatives]
    alone = not example.writes and len(example.targets) == 1
    return alone and not (num_negatives and negatives)
