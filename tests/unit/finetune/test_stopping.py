"""When the development set ends a run, and that a resumed run keeps its counts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from onegen_model.finetune.run.dev_set import EarlyStopping, Patience, evaluations_without_gain
from onegen_model.finetune.run.training import run
from onegen_model.model import OneGenModel
from tests.support.development_sets import dev_values, recipe_with_dev, state_of
from tests.support.finetuning import PASSAGES


@pytest.mark.parametrize("min_delta", [0.0, 0.15])
@pytest.mark.parametrize("larger", [True, False])
def test_patience_is_counted_as_transformers_counts(
    tmp_path: Path, larger: bool, min_delta: float
) -> None:
    values = [0.5, 0.4, 0.45, 0.6, 0.5, 0.35, 0.35, 0.7, 0.1, 0.2, 0.05]
    arguments = TrainingArguments(str(tmp_path), greater_is_better=larger, use_cpu=True)
    reference, state = EarlyStoppingCallback(3, min_delta), TrainerState()
    for number, value in enumerate(values):
        reference.check_metric_value(arguments, state, TrainerControl(), value)
        before = value if state.best_metric is None else state.best_metric
        state.best_metric = max(before, value) if larger else min(before, value)
        count = evaluations_without_gain(values[: number + 1], min_delta, larger)
        assert count == reference.early_stopping_patience_counter


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_stopped_run_keeps_its_counts_and_its_best_step(
    base: Path, tmp_path: Path, method: str
) -> None:
    """Two evaluations without gain end it, also when a kill lies between them."""
    changes: dict[str, Any] = {"method": method, "early_stopping": {"patience": 2}}
    changes["trainer"] = {"learning_rate": 0.02 if method == "lora" else 0.003}
    output = run(recipe_with_dev(tmp_path / "run", base, **changes))
    values = dev_values(output)
    best, steps = values.index(min(values)) + 1, len(values)
    assert steps == best + 2 < 12
    cut = recipe_with_dev(tmp_path / "cut", base, **changes)
    for step in (best, best + 1):
        name = f"checkpoint-{step}"
        shutil.copytree(output / name, cut.output / name)
    # As if the run had been here all the time.
    file = cut.output / f"checkpoint-{best + 1}" / "trainer_state.json"
    plain_state = json.loads(file.read_text()) | {
        "best_model_checkpoint": str(cut.output / f"checkpoint-{best}")
    }
    file.write_text(json.dumps(plain_state))
    run(cut)
    assert dev_values(cut.output) == pytest.approx(values, abs=1e-5)
    passages = list(PASSAGES.values())
    one, two = (
        OneGenModel.from_pretrained(f).embed_passages(passages) for f in (output, cut.output)
    )
    assert two == pytest.approx(one, abs=1e-5)


def test_a_run_that_was_ended_stays_ended_until_patience_is_raised(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = run(recipe_with_dev(tmp_path, base, early_stopping={"patience": 2}))
    ended = state_of(output)["global_step"]
    adapter = (output / "adapter_model.safetensors").read_bytes()
    assert ended < 12
    run(recipe_with_dev(tmp_path, base, early_stopping={"patience": 2}))
    assert "raise early_stopping.patience to continue" in caplog.text
    assert state_of(output)["global_step"] == ended
    assert (output / "adapter_model.safetensors").read_bytes() == adapter
    run(recipe_with_dev(tmp_path, base, early_stopping={"patience": 9}))
    assert state_of(output)["global_step"] == 12


def test_patience_is_a_setting_of_transformers_own_callback() -> None:
    callback = Patience(EarlyStopping(4, 0.25))
    assert (callback.early_stopping_patience, callback.early_stopping_threshold) == (4, 0.25)
