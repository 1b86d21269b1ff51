"""Recipes that cannot be trained: one clear error before the first step."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from transformers import TrainingArguments
from transformers.integrations import integration_utils

from onegen_model.cli import main
from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.data.survey import usable
from onegen_model.finetune.run import training as run_module
from onegen_model.finetune.run.batch_checks import warn_of_lone_pairs
from onegen_model.finetune.run.dry_run import count_steps, preview
from onegen_model.finetune.run.start import load_renderer
from onegen_model.finetune.run.training import run, training_arguments
from tests.conftest import MakeNetwork
from tests.support.finetuning import EXAMPLES, make_base, plain, write_recipe


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["train", str(folder / "recipe.yaml"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_deepspeed_that_is_not_installed_names_the_extra(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(run_module, "find_spec", lambda _: None)
    recipe = write_recipe(tmp_path, base, trainer={"deepspeed": "zero2.json"})
    with pytest.raises(MissingExtraError, match=r"deepspeed is not installed.*onegen\[deepspeed\]"):
        training_arguments(recipe)


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("method", "adapter"),
    [
        ("lora", {"frozen": 2}),
        ("lora", {"frozen": 20}),
        ("lora", {"top_layers": 3}),
        ("top_layers", {"top_layers": 3}),
    ],
)
def test_more_layers_than_there_are_were_all_of_them_without_a_word(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    adapter: dict[str, int],
    options: list[str],
) -> None:
    recipe = write_recipe(tmp_path, base, method=method, adapter=adapter)
    [(name, count)] = adapter.items()
    most = {"frozen": 1, "top_layers": 2}[name]
    said = f"adapter.{name} is {count}, and the network has 2 layers; expected at most {most}, "
    assert said in refusal(tmp_path, capsys, *options)
    assert not recipe.output.exists()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_an_unknown_reporter_is_a_one_line_error(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    write_recipe(tmp_path, base, trainer={"report_to": "tensorbord"})
    assert "trainer: tensorbord is not supported" in refusal(tmp_path, capsys, *options)


def test_a_reporter_whose_package_is_missing_is_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    write_recipe(tmp_path, base, trainer={"report_to": "wandb"})
    line = refusal(tmp_path, capsys)
    assert "requires wandb to be installed" in line
    assert "and the packages that they name" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": {"rank": 0}}, "adapter: rank is 0; expected 1 or more"),
        ({"adapter": {"alpha": 0}}, "adapter: alpha is 0; expected 1 or more"),
        ({"adapter": {"top_layers": -1}}, "adapter: top_layers is -1; expected 0 or more"),
        ({"collator": {"num_negatives": -1}}, "collator: num_negatives is -1; expected 0 or more"),
        ({"collator": {"chunk_tokens": 0}}, "collator: chunk_tokens is 0; expected 1 or more"),
        ({"collator": {"max_padding": 10}}, "collator: max_padding is 10.0; expected a share, 0"),
        ({"collator": {"max_padding": -0.1}}, "collator: max_padding is -0.1; expected a share"),
        ({"adapter": {"frozen": -1}}, "adapter: frozen is -1; expected 0 or more"),
        ({"method": "full", "adapter": {"frozen": 1}}, "adapter.frozen is 1 with method full"),
        (
            {"contrastive": "bpr", "cross_device_negatives": True},
            "cross_device_negatives is true with contrastive bpr",
        ),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_line(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    write_recipe(tmp_path, base)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    assert f"{file}: {message}" in refusal(tmp_path, capsys)


def test_settings_are_checked_at_birth() -> None:
    with pytest.raises(InvalidInputError, match="num_negatives is -1; expected 0 or more"):
        CollatorSettings(num_negatives=-1)


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_base_that_could_not_be_served_is_refused_before_it_is_trained(
    tmp_path: Path,
    make_network: MakeNetwork,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    unsuited = make_base(tmp_path / "base", make_network, attention_chunk_size=8)
    recipe = write_recipe(tmp_path, unsuited)
    assert "has chunked attention; expected a decoder" in refusal(tmp_path, capsys, *options)
    assert not recipe.output.exists()


class Begun(Exception):
    """A run has come to where it writes."""


@pytest.mark.parametrize(("stage", "method"), [(3, "top_layers"), (2, "top_layers"), (3, "lora")])
def test_zero3_splits_what_does_not_learn_and_top_layers_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, method: str
) -> None:
    def with_zero(*args: Any) -> TrainingArguments:
        arguments = training_arguments(*args)
        arguments.hf_deepspeed_config = SimpleNamespace(is_zero3=lambda: stage == 3)
        return arguments

    def begin(*_: Any) -> None:
        raise Begun

    monkeypatch.setattr(run_module, "training_arguments", with_zero)
    monkeypatch.setattr(run_module, "write_task", begin)
    recipe = write_recipe(tmp_path, base, method=method, adapter={"top_layers": 1})
    if (stage, method) == (3, "top_layers"):
        with pytest.raises(InvalidInputError, match=r"under ZeRO-3.*expected ZeRO-2"):
            run(recipe)
    else:
        with pytest.raises(Begun):
            run(recipe)


@pytest.mark.parametrize(
    ("examples", "trainer", "steps"),
    [
        (7, {"num_train_epochs": 2}, 6),
        (7, {"gradient_accumulation_steps": 2}, 6),
    ],
)
def test_examples_that_fill_no_batch_take_no_step_where_they_are_dropped(
    base: Path, tmp_path: Path, examples: int, trainer: dict[str, Any], steps: int
) -> None:
    always = {"max_steps": -1, "dataloader_drop_last": True}
    recipe = write_recipe(tmp_path, base, trainer=always | trainer)
    assert count_steps(examples, training_arguments(recipe))[0] == steps


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_dropping_the_only_batch_is_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    trainer = {"dataloader_drop_last": True, "per_device_train_batch_size": 7}
    write_recipe(tmp_path, base, trainer=trainer)
    assert "6 examples fill no batch of 7" in refusal(tmp_path, capsys, *options)


def test_a_dry_run_names_the_number_of_processes(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = {"max_steps": -1, "dataloader_drop_last": True, "per_device_train_batch_size": 4}
    recipe = write_recipe(tmp_path, base, trainer=trainer)
    assert preview(recipe).processes == 1
    assert main(["train", str(tmp_path / "recipe.yaml"), "--dry-run"]) == 0
    assert "Steps:      3 (3.00 epochs) with one process" in capsys.readouterr().out


def test_data_check_names_the_line_of_an_id_that_was_there_before(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, base)
    rows = [plain(e) for e in EXAMPLES]
    rows[4]["id"] = rows[1]["id"]
    recipe.train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["data", "check", str(recipe.train), "--passages", str(recipe.passages)]
    assert main([*command, "--model", str(base)]) == 1
    shown = capsys.readouterr().out
    first = f"{recipe.train}:2"
    assert f"{recipe.train}:5: example '1': its id is in {first} already" in shown
    assert "Problems:    1" in shown


@pytest.mark.parametrize(
    ("changes", "trainer", "warned"),
    [
        ({}, {}, "The last batch of each epoch holds one example, and 7 of 7"),
        ({}, {"per_device_train_batch_size": 1}, "Each batch holds one example, and 7 of 7"),
        ({}, {"dataloader_drop_last": True}, ""),
        ({}, {"per_device_train_batch_size": 4}, ""),
        ({"cross_batch_negatives": 4}, {}, ""),
        ({"contrastive": "bpr"}, {}, ""),
    ],
)
def test_a_last_batch_of_one_pair_trained_nothing_without_a_word(
    base: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    trainer: dict[str, Any],
    warned: str,
) -> None:
    recipe = write_recipe(tmp_path, base, format="pairs", trainer=trainer, **changes)
    pairs = [{"query": f"where is it {n}?", "positive": f"by the sea {n}"} for n in range(7)]
    recipe.train.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data = open_data(recipe.format, recipe.train, None)
    collator = Collator(load_renderer(base, 64), data.passages)
    examples = usable(data, collator, "error")
    warn_of_lone_pairs(recipe, examples, training_arguments(recipe))
    assert (warned in caplog.text) if warned else not caplog.text


@pytest.mark.parametrize("command", ["check", "train"])
def test_lines_of_another_format_were_a_list_of_unknown_fields(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    recipe = write_recipe(tmp_path, base)
    recipe.train.write_text(json.dumps({"query": "where?", "positive": "by the sea"}) + "\n")
    if command == "train":
        shown = refusal(tmp_path, capsys)
    else:
        assert main(["data", "check", str(recipe.train), "--model", str(base)]) == 1
        shown = capsys.readouterr().out
    assert "the lines look like pairs: try `format: pairs` in a recipe" in shown
    assert "`--format pairs` on the command line" in shown


def test_all_problems_of_a_recipe_are_named_at_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path, base)
    file = tmp_path / "recipe.yaml"
    bad = {"temprature": 1, "dtype": "float8", "adapter": {"rank": "many"}}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | bad))
    line = refusal(tmp_path, capsys)
    assert "dtype is 'float8'; expected one of float32, bfloat16, float16; choose one" in line
    assert "adapter: rank is 'many'; expected a whole number" in line
    assert "has the key 'temprature'" in line
