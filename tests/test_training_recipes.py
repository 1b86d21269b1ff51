"""The recipes of the default checkpoint and of the generator that it is compared with."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from onegen_model.finetune.recipe import Recipe

FOLDER = Path(__file__).parent.parent / "training" / "recipes"
# In the order in which each went on from the adapter of the one before.
PARTS = ("default", "comparisons", "decompositions", "last_hops")


def recipe(name: str) -> Recipe:
    return Recipe.read(FOLDER / f"{name}.yaml")


def header(name: str) -> str:
    """The comment at the top, which says how the recipe is run."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def examples_a_step(name: str) -> int:
    """Over all processes of the command in the header."""
    found = re.search(r"torchrun --nproc_per_node (\d+)", header(name))
    assert (found is None) == ("onegen train" in header(name)), "one of the two commands"
    trainer = recipe(name).trainer
    processes = int(found[1]) if found else 1
    accumulated = trainer.get("gradient_accumulation_steps", 1)
    return int(trainer["per_device_train_batch_size"] * accumulated * processes)


def test_the_parts_of_the_default_checkpoint_go_on_from_each_other() -> None:
    assert recipe(PARTS[0]).adapter_from is None
    for before, after in pairwise(PARTS):
        assert Path(str(recipe(after).adapter_from)) == recipe(before).output


@pytest.mark.parametrize("part", PARTS)
def test_the_generator_alone_learns_as_each_part_of_the_default_checkpoint_did(part: str) -> None:
    alone, joint = recipe("two_models"), recipe(part)
    for name in ("method", "base", "adapter", "format", "train", "passages", "max_passage_tokens"):
        assert getattr(alone, name) == getattr(joint, name), name
    assert alone.language_modeling_weight == joint.language_modeling_weight
    # `chunk_tokens` says how much is padded, which no loss sees; negatives it has none.
    for name in ("max_length", "on_truncation"):
        assert getattr(alone.collator, name) == getattr(joint.collator, name), name
    assert examples_a_step("two_models") == examples_a_step(part) == 8
    for name in ("max_grad_norm", "weight_decay"):
        assert alone.trainer[name] == joint.trainer[name], name


def test_the_generator_alone_takes_as_many_steps_and_only_writes() -> None:
    alone, steps = recipe("two_models"), [recipe(part).trainer["max_steps"] for part in PARTS]
    assert steps == [240, 120, 220, 150]
    assert alone.trainer["max_steps"] == sum(steps) == 730
    assert alone.adapter_from is None
    assert alone.contrastive_weight == 0
    assert all(recipe(part).contrastive_weight > 0 for part in PARTS)
    shown = re.search(r"\(([\d, and]+)\)", header("two_models").replace("\n# ", " "))
    assert shown is not None
    assert [int(number) for number in re.findall(r"\d+", shown[1])] == steps
