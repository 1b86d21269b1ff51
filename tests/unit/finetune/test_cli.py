"""`onegen train` and `onegen data check`, and what a preview promises."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from transformers import PreTrainedModel

from onegen_model.cli import main
from onegen_model.cli.parser import parse_arguments
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.run import recipe as recipe_module
from onegen_model.finetune.run.dev_set import EarlyStopping
from onegen_model.finetune.run.dry_run import activation_numbers, count_steps, preview
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.start import load_renderer
from onegen_model.finetune.run.trainable import AdapterSettings, Method, prepare_to_learn
from onegen_model.finetune.run.training import run, training_arguments
from onegen_model.model import OneGenModel
from tests.conftest import MakeNetwork
from tests.support.finetuning import EXAMPLES, PASSAGES, losses_of, write_recipe


def test_a_dry_run_shows_the_role_of_every_token_and_trains_nothing(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, base, trainer={"max_steps": -1, "num_train_epochs": 2})
    assert main(["train", str(tmp_path / "recipe.yaml"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    roles = {}
    for line in shown.splitlines():
        if line.startswith("  "):
            roles.setdefault(line[2:15].strip(), []).append(line[17:].replace("|", ""))
    assert roles["query token"] == ["[RQ]"]
    assert roles["passage token"] == ["[RD]"]
    assert roles["written"][0] == "where is alba?"
    assert roles["written"][1].startswith(r" by the sea\n<FINAL-ANSWER>")
    assert roles["inserted"] == [
        "<paragraph>brig is a small town by the sea</paragraph>"
        "<paragraph>alba is a small town by the sea</paragraph>"
    ]
    assert roles["passage"] == ["alba is a small town by the sea"]
    assert "what is number 0?" in roles["prompt"][0].replace("im_end", "")
    assert "Steps:      6 (2.00 epochs)" in shown
    assert not recipe.output.exists()


def test_a_dry_run_shows_every_token_of_the_transcript(base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, base)
    found = preview(recipe)
    data = open_data(recipe.format, recipe.train, recipe.passages)
    rendered = Collator(load_renderer(base, 64), data.passages).render(EXAMPLES[0])
    written = [
        t for r in found.transcript if r.role in ("written", "query token") for t in r.tokens
    ]
    assert sum(len(r.tokens) for r in found.transcript) == len(rendered.ids)
    assert len(written) == sum(rendered.written), "exactly the loss mask"


def test_a_dry_run_of_mixed_examples_shows_and_measures_those_that_write(
    base: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, base)
    lines = [json.loads(line) for line in recipe.train.read_text().splitlines()]
    for line in lines[:4]:  # the longest, and what comes first
        line["writes"] = False
        line["segments"][0]["text"] = "where is it, and what? "
    recipe.train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = preview(recipe)
    assert found.example == lines[4]["id"]
    assert found.memory.activations > preview(_only(recipe, lines[:4])).memory.activations


def _only(recipe: Recipe, lines: list[Any]) -> Recipe:
    recipe.train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return recipe


def test_train_trains_and_dry_run_promised_its_steps(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(
        tmp_path, base, trainer={"max_steps": -1, "num_train_epochs": 3, "save_steps": 1}
    )
    promised = preview(recipe)
    assert main(["train", str(tmp_path / "recipe.yaml"), "--json"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {"checkpoint": str(recipe.output)}
    assert len(losses_of(recipe.output)) == promised.steps == 9
    learnt = OneGenModel.from_pretrained(recipe.output)
    assert learnt.embed_passages(list(PASSAGES.values())).shape == (6, 64)
    assert main(["train", str(tmp_path / "recipe.yaml"), "--max-steps", "10"]) == 0
    assert len(losses_of(recipe.output)) == 10, "it went on"


@pytest.mark.parametrize(
    ("examples", "trainer", "steps"),
    [
        (7, {"per_device_train_batch_size": 2, "num_train_epochs": 2}, 8),
        (7, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}, 6),
        (100, {"max_steps": 11}, 11),
    ],
)
def test_steps_are_counted_as_the_trainer_counts(
    base: Path, tmp_path: Path, examples: int, trainer: dict[str, Any], steps: int
) -> None:
    recipe = write_recipe(tmp_path, base, trainer={"max_steps": -1, **trainer})
    assert count_steps(examples, training_arguments(recipe))[0] == steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temprature": 1}, "has the key 'temprature'; expected one of the known ones; did you "
         "mean 'temperature'?"),
        ({"adapter": {"rnak": 1}}, "recipe.yaml: adapter has the key 'rnak'.*'rank'"),
        ({"trainer": {"learning_rat": 1}}, "trainer has the key 'learning_rat'.*'learning_rate'"),
        ({"contrastive": "bprr"}, "contrastive is 'bprr'; expected one of info_nce, bpr"),
        ({"temperature": "warm"}, "temperature is 'warm'; expected a number"),
        ({"adapter": {"rank": 1.5}}, "adapter: rank is 1.5; expected a whole number"),
        ({"contrastive": "bpr", "cross_batch_negatives": 9}, "is 9 with contrastive bpr"),
        ({"method": "top_layers"}, "adapter.top_layers is 0 with method top_layers"),
        ({"method": "full", "dtype": "bfloat16"}, "dtype is bfloat16 with method full"),
        ({"passages": None}, "has no key 'passages'"),
        ({"train": "nowhere.jsonl"}, "No file nowhere.jsonl"),
        ({"base": "nowhere"}, "No base nowhere"),
        ({"trainer": {"max_steps": 1, "lr_scheduler_type": "wavy"}}, "trainer: wavy is not"),
        ({"trainer": {"deepspeed": "zero2.json"}}, "torchrun"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_run_is_one_line(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    write_recipe(tmp_path, base)
    file = tmp_path / "recipe.yaml"
    plain = yaml.safe_load(file.read_text()) | changes
    file.write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert main(["train", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onegen: error: ")
    assert re.search(message, line), line


def test_numbers_that_yaml_takes_for_text_are_numbers(base: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path, base)
    file = tmp_path / "recipe.yaml"
    text = file.read_text().replace("learning_rate: 0.01", "learning_rate: 1e-3")
    file.write_text(text + "temperature: 5e-2\n", encoding="utf-8")
    recipe = Recipe.read(file)
    assert (recipe.trainer["learning_rate"], recipe.temperature) == (0.001, 0.05)


def test_the_shipped_recipes_are_readable() -> None:
    recipes = Path(__file__).parents[3] / "training" / "recipes"
    files = list(recipes.glob("*.yaml"))
    assert files
    for file in files:
        Recipe.read(file)


def test_every_format_of_a_recipe_is_a_format_of_the_command() -> None:
    for name in get_args(recipe_module.Format):
        options = parse_arguments(["data", "check", "x", "--format", name])
        assert options.format == name


def test_a_run_trains_on_pairs_alone(base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, base, format="pairs", trainer={"learning_rate": 0.02})
    pairs = [{"query": f"where is {name}?", "positive": PASSAGES[name].text} for name in PASSAGES]
    recipe.train.write_text("".join(json.dumps(p) + "\n" for p in pairs), encoding="utf-8")
    losses = losses_of(run(recipe))
    assert {loss["language_modeling_loss"] for loss in losses} == {0.0}
    assert losses[-1]["contrastive_loss"] < losses[0]["contrastive_loss"]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "shape", [{}, {"intermediate_size": 400}, {"hidden_size": 128, "head_dim": 32}]
)
def test_the_estimate_of_activations_is_what_autograd_keeps(
    make_network: MakeNetwork, method: Method, attention: str, shape: dict[str, int]
) -> None:
    network: PreTrainedModel = make_network("llama", num_key_value_heads=4, **shape)
    network.set_attn_implementation(attention)
    network = prepare_to_learn(network, [1], method, AdapterSettings()).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, 300, (3, 240))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.get_decoder()(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    measured = sum(storage.nbytes() for storage in kept.values()) / 8
    estimated = activation_numbers(network.config, {"input_ids": ids}, 2)
    assert 0.7 < estimated / measured < 1.4


def test_data_check_prints_problems_and_counts(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, base)
    command = ["data", "check", str(recipe.train), "--passages", str(recipe.passages)]
    command += ["--model", str(base), "--max-passage-tokens", "64"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "Examples:    6, with 6 retrievals" in shown
    assert "Problems:    0" in shown
    lines = recipe.train.read_text().replace('"question"', '"qeustion"').replace("alba", "nowhere")
    recipe.train.write_text(lines, encoding="utf-8")
    assert main([*command, "--limit", "1"]) == 1
    shown = capsys.readouterr().out
    assert (
        f"{recipe.train}:1: qeustion: unknown; expected one of id, question, segments, writes, "
        "tools; did you mean 'question'?" in shown
    )
    assert "and 11 more problems (--limit)" in shown
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["num_problems"] == 12


def test_data_check_without_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "nowhere.jsonl"]) == 2
    assert "No file nowhere.jsonl" in capsys.readouterr().err


def test_train_refuses_less_than_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "x.yaml", "--max-steps", "0"]) == 2
    assert "max_steps=0; expected at least 1" in capsys.readouterr().err


def test_a_recipe_that_is_no_yaml_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("a: [", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is not YAML"):
        Recipe.read(file)
    file.write_text("- a", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is not a mapping"):
        Recipe.read(file)
    with pytest.raises(InvalidInputError, match="No recipe"):
        Recipe.read(tmp_path / "nowhere.yaml")


def test_the_reference_of_keys_holds_every_key_of_a_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--keys"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["key", "value", "default", "meaning"]
    keys = {row[0].strip("`"): row[1:] for row in rows[2:]}
    groups = {"adapter": AdapterSettings, "collator": CollatorSettings,
              "early_stopping": EarlyStopping}  # fmt: skip
    named = [f.name for f in dataclasses.fields(Recipe)]
    named += [f"{name}.{f.name}" for name, cls in groups.items() for f in dataclasses.fields(cls)]
    assert sorted(keys) == sorted(named)
    assert keys["method"][:2] == ["`lora`, `top_layers`, `full`", "`lora`"]
    assert keys["train"][:2] == ["path", "required"]
    assert keys["adapter.rank"][:2] == ["whole number", "`16`"]
    assert all(row[-1].endswith(".") for row in keys.values()), "each has a meaning"


def test_train_without_a_recipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert "No recipe; expected a YAML file; run `onegen train CONFIG.yaml`" in (
        capsys.readouterr().err
    )


def test_the_tiny_recipe_trains_on_the_pairs_of_a_user(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a tiny base in place of the default checkpoint."""
    monkeypatch.chdir(tmp_path)
    file = Path(__file__).parents[3] / "training" / "recipes" / "tiny_cpu.yaml"
    keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert keys.pop("adapter_from") == "default"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(keys | {"base": str(base)}))
    pairs = [{"query": f"where is {name}?", "positive": PASSAGES[name].text} for name in PASSAGES]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    assert main(["data", "check", "pairs.jsonl", "--format", "pairs", "--model", str(base)]) == 0
    assert main(["train", "tiny.yaml"]) == 0
    model = OneGenModel.from_pretrained(tmp_path / "runs" / "tiny")
    assert model.embed_passages(list(PASSAGES.values())).shape == (6, 64)
