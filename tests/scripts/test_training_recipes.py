"""The shipped recipes: those of the checkpoints, and of the generator that one is compared with."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from onegen_model.checkpoint.shipped import shipped
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.trainable import saved_shapes
from onegen_model.finetune.run.training import training_arguments

FOLDER = Path(__file__).parents[2] / "training" / "recipes"


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


def test_every_recipe_names_its_command() -> None:
    recipes = sorted(FOLDER.glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        assert f"#   onegen train training/recipes/{recipe.name}\n" in recipe.read_text(
            encoding="utf-8"
        )


def test_every_recipe_can_be_read() -> None:
    for recipe in FOLDER.glob("*.yaml"):
        Recipe.read(recipe)


def test_the_linking_recipe_fits_the_adapter_that_it_goes_on_from() -> None:
    recipe = Recipe.read(FOLDER / "entity_linking.yaml")
    assert recipe.adapter_from is not None
    folder = shipped(recipe.adapter_from)
    assert folder is not None
    plain = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (plain["r"], plain["lora_alpha"]) == (recipe.adapter.rank, recipe.adapter.alpha)
    names = saved_shapes(folder / "adapter_model.safetensors")
    layers = {name.split(".layers.")[1].split(".")[0] for name in names if ".layers." in name}
    assert recipe.adapter.frozen < len(layers), "something learns"
    assert training_arguments(recipe).max_steps > 0


def test_the_default_recipe_names_its_settings_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = (FOLDER / "default.yaml").read_text(encoding="utf-8")
    with pytest.raises(InvalidInputError, match="use_cpu"):
        training_arguments(Recipe.read(FOLDER / "default.yaml"))
    header, recipe = text.split("\ntrain: ")
    changes = re.findall(r"^#   (\w+): (\S+)$", header, re.MULTILINE)
    assert changes
    for name, value in changes:
        recipe, found = re.subn(rf"^( *{name}): \S+", rf"\1: {value}", recipe, flags=re.MULTILINE)
        assert found == 1, name
    (tmp_path / "cpu.yaml").write_text(f"train: {recipe}", encoding="utf-8")
    assert Recipe.read(tmp_path / "cpu.yaml").dtype == "float32"
    arguments = training_arguments(Recipe.read(tmp_path / "cpu.yaml"))
    assert arguments.device.type == "cpu"
    assert not arguments.bf16
