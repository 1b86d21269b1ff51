"""The recipes of the default checkpoint and of the generator that it is compared with."""

import dataclasses
from pathlib import Path

from onegen_model.finetune.recipe import Recipe

FOLDER = Path(__file__).parent.parent / "training" / "recipes"


def test_the_generator_alone_learns_as_the_default_checkpoint_did_and_only_writes() -> None:
    joint, alone = (Recipe.read(FOLDER / f"{name}.yaml") for name in ("default", "generator"))
    assert joint.contrastive_weight > 0 == alone.contrastive_weight
    assert joint.output != alone.output
    # What the contrastive loss alone reads.
    others = ("output", "contrastive_weight", "temperature", "cross_batch_negatives")
    fields = [f.name for f in dataclasses.fields(Recipe) if f.name not in others]
    assert "trainer" in fields
    for name in fields:
        assert getattr(alone, name) == getattr(joint, name), name


def test_every_recipe_says_how_it_is_run() -> None:
    recipes = sorted(FOLDER.glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        assert f"#   onegen train training/recipes/{recipe.name}\n" in recipe.read_text()
