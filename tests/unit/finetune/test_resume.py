"""Resuming a run after a change of its recipe: it continues, or ends with one error."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from onegen_model.cli import main
from onegen_model.finetune.run.training import run
from tests.support.development_sets import recipe_with_dev, state_of, write_dev
from tests.support.finetuning import write_recipe


@pytest.fixture(scope="module")
def measured(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three steps that kept its first one."""
    folder = tmp_path_factory.mktemp("measured")
    trainer = {"max_steps": 3, "learning_rate": 0.0}
    output = run(recipe_with_dev(folder, base, trainer=trainer))
    assert state_of(output)["best_global_step"] == 1
    return folder


@pytest.fixture
def folder(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "run"))


def change(folder: Path, **changes: Any) -> Path:
    """The recipe in a folder with other keys; None takes one away."""
    file = folder / "recipe.yaml"
    keys = yaml.safe_load(file.read_text()) | {"output": str(folder / "out")} | changes
    file.write_text(yaml.safe_dump({k: v for k, v in keys.items() if v is not None}))
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": {"rank": 2, "alpha": 8}}, "rank 4, not 2"),
        ({"adapter": {"rank": 4, "alpha": 16}}, "alpha 8, not 16"),
        ({"adapter": {"rank": 4, "alpha": 8, "top_layers": 1}}, "adapter.top_layers?"),
        ({"method": "full"}, "no trained.safetensors"),
        ({"dev_metric": "recall@1"}, "another dev_metric than recall@1"),
    ],
)
def test_a_recipe_that_does_not_fit_its_run_is_one_line_and_loses_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    before = {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()}
    assert main(["train", str(change(folder, **changes))]) == 2
    (line,) = (one for one in capsys.readouterr().err.splitlines() if "onegen: error:" in one)
    assert message in line
    assert "choose another output" in line
    assert {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrastive": "bpr", "temperature": 0.1}, "another contrastive, temperature"),
        ({"collator": {"num_negatives": 2, "max_length": 960}}, "another collator"),
        ({"max_passage_tokens": 20}, "another max_passage_tokens"),
    ],
)
def test_a_run_is_not_resumed_towards_another_objective(
    folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert main(["train", str(change(folder, **changes))]) == 2
    assert message in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_data_but_with_other_steps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = yaml.safe_load((folder / "recipe.yaml").read_text())
    lines = Path(keys["train"]).read_text().splitlines(keepends=True)
    (folder / "mined.jsonl").write_text("".join(reversed(lines)))
    assert main(["train", str(change(folder, train=str(folder / "mined.jsonl")))]) == 2
    assert "was started with another train; expected the same" in capsys.readouterr().err
    trainer = keys["trainer"] | {"max_steps": 4, "learning_rate": 1e-3}
    less_padded = keys.get("collator", {}) | {"chunk_tokens": 64}
    recipe = change(folder, train=keys["train"], trainer=trainer, collator=less_padded)
    assert main(["train", str(recipe)]) == 0
    (folder / "out" / "run.json").write_text("{")
    assert main(["train", str(change(folder))]) == 2
    assert "run.json cannot be read" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_one_error(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path, base, trainer={"max_steps": 1})
    (tmp_path / "out").write_text("a file")
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 2
    assert "out cannot be written" in capsys.readouterr().err


def test_other_trained_layers_than_those_of_the_run_are_one_error(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, trainer = {"top_layers": 1}, {"max_steps": 1}
    run(write_recipe(tmp_path, base, method="top_layers", adapter=adapter, trainer=trainer))
    for changes in ({"adapter": {"top_layers": 2}}, {"method": "full", "adapter": {}}):
        assert main(["train", str(change(tmp_path, **changes))]) == 2
        assert "saved other weights than are trained now" in capsys.readouterr().err


def test_without_dev_a_run_keeps_its_last_step_and_warns_of_nothing(folder: Path) -> None:
    trainer = {"max_steps": 4, "save_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True}
    nothing = {"dev": None, "dev_metric": None}
    assert main(["train", str(change(folder, **nothing, trainer=trainer))]) == 0
    out = folder / "out"
    saved, last = (f / "adapter_model.safetensors" for f in (out, out / "checkpoint-4"))
    assert saved.read_bytes() == last.read_bytes()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| Steps | 4 of 4 |" in card
    assert "kept" not in card


def test_dev_may_be_added_to_a_run(base: Path, tmp_path: Path) -> None:
    run(write_recipe(tmp_path, base, trainer={"max_steps": 2}))
    trainer = {"max_steps": 4, "eval_steps": 1, "save_steps": 1}
    recipe = write_recipe(tmp_path, base, dev=str(write_dev(tmp_path)), trainer=trainer)
    logged = [log["step"] for log in state_of(run(recipe))["log_history"] if "eval_loss" in log]
    assert logged == [3, 4]


def test_looking_at_the_start_costs_no_patience(base: Path, tmp_path: Path) -> None:
    """Started again, a run measures once more what it has measured before."""
    changes = {"early_stopping": {"patience": 1}, "dev_metric": "language_modeling_loss"}
    trainer = {"max_steps": 2, "learning_rate": 0.003, "eval_on_start": True,
               "lr_scheduler_type": "constant"}  # fmt: skip
    run(recipe_with_dev(tmp_path, base, **changes, trainer=trainer))
    output = run(recipe_with_dev(tmp_path, base, **changes, trainer=trainer | {"max_steps": 4}))
    state = state_of(output)
    values = {log["step"]: log["eval_language_modeling_loss"] for log in state["log_history"]
              if "eval_loss" in log}  # fmt: skip
    assert sorted(values.values(), reverse=True) == list(values.values()), "each step gains"
    assert state["global_step"] == 4


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"learning_rate": 1e-3}, "trainer.learning_rate was 0.0 and is 0.001"),
        ({"max_steps": 2}, "trainer.max_steps was 3 and is 2"),
        ({"weight_decay": 0.5}, "trainer.weight_decay was None and is 0.5"),
    ],
)
def test_a_changed_setting_under_a_finished_output_was_ignored(
    folder: Path, capsys: pytest.CaptureFixture[str], trainer: dict[str, Any], message: str
) -> None:
    before = {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()}
    keys = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert main(["train", str(change(folder, trainer=keys["trainer"] | trainer))]) == 2
    error = capsys.readouterr().err
    assert f"is finished, and {message}; expected the settings that it was trained with" in error
    assert {p: p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()} == before


def test_what_changes_no_weight_may_change_under_a_finished_output(folder: Path) -> None:
    keys = yaml.safe_load((folder / "recipe.yaml").read_text())
    trainer = keys["trainer"] | {"logging_steps": 2, "report_to": "none"}
    assert main(["train", str(change(folder, trainer=trainer, license="mit"))]) == 0
    assert "license: mit" in (folder / "out" / "README.md").read_text(encoding="utf-8")


def rates_of(output: Path) -> list[float]:
    return [log["learning_rate"] for log in state_of(output)["log_history"] if "loss" in log]


def test_the_first_step_after_raising_max_steps_had_rate_zero(base: Path, tmp_path: Path) -> None:
    straight = run(write_recipe(tmp_path / "straight", base, trainer={"max_steps": 4}))
    output = run(write_recipe(tmp_path / "run", base, trainer={"max_steps": 2, "save_steps": 2}))
    run(write_recipe(tmp_path / "run", base, trainer={"max_steps": 4}))
    assert rates_of(output)[2:] == pytest.approx(rates_of(straight)[2:])
    assert min(rates_of(output)) > 0


def test_a_changed_learning_rate_was_ignored_when_a_run_was_resumed(
    base: Path, tmp_path: Path
) -> None:
    trainer = {"max_steps": 2, "lr_scheduler_type": "constant", "learning_rate": 0.01}
    run(write_recipe(tmp_path, base, trainer=trainer))
    longer = trainer | {"max_steps": 3, "learning_rate": 0.002}
    assert rates_of(run(write_recipe(tmp_path, base, trainer=longer))) == [0.01, 0.01, 0.002]
