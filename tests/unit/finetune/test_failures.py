"""Failures that stop a run before it saves, and a lack of memory outside a batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from onegen_model.errors import OneGenError, is_out_of_memory
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.training import run
from tests.support.finetuning import write_recipe
from tests.support.processes import HAS_DEEPSPEED, ROOT, SCRIPT, run_two, spoiled_in_step_2


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`spoil(3)`: the gradient of the third batch is infinite, its loss is not."""

    def begin(at: int) -> None:
        forward, batches = Objective.forward, []

        def spoiled(self: Objective, *args: Any, **options: Any) -> dict[str, Any]:
            outputs = forward(self, *args, **options)
            batches.append(options["ids"])
            if len(batches) == at:
                outputs["loss"].register_hook(lambda gradient: gradient * float("inf"))
            return outputs

        monkeypatch.setattr(Objective, "forward", spoiled)

    return begin


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"max_grad_norm": 0},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 1},
        {"bf16": True},
    ],
)
def test_a_gradient_that_is_no_number_is_neither_learnt_nor_saved(
    base: Path, tmp_path: Path, spoil: Any, trainer: dict[str, Any]
) -> None:
    spoil(1 + trainer.get("gradient_accumulation_steps", 1))
    recipe = write_recipe(tmp_path, base, trainer={"save_steps": 1, **trainer})
    message = r"gradient norm is (nan|inf) at step 2, in a batch of the examples '\d', '\d';"
    with pytest.raises(OneGenError, match=message):
        run(recipe)
    assert [folder.name for folder in recipe.output.glob("check*")] == ["checkpoint-1"]


@pytest.mark.slow
@pytest.mark.parametrize("zero", [None, "zero2", "zero3"])
def test_one_process_with_such_a_gradient_stops_all(base: Path, tmp_path: Path, zero: Any) -> None:
    """DeepSpeed has stepped by then, or has left the step out; nothing is saved either way."""
    if zero and not HAS_DEEPSPEED:
        pytest.skip("deepspeed is not installed")
    config = {"deepspeed": str(ROOT / "training" / "configs" / f"{zero}.json")} if zero else {}
    trainer = {"save_steps": 1, "per_device_train_batch_size": 1, **config}
    recipe = write_recipe(tmp_path, base, trainer=trainer)
    arguments = [str(SCRIPT), str(tmp_path / "recipe.yaml")]
    codes, logs = run_two(arguments, tmp_path, spoiled_in_step_2)
    assert 0 not in codes
    assert "error: The gradient norm is" in logs, logs[-4000:]
    assert "at step 2" in logs
    assert [folder.name for folder in recipe.output.glob("check*")] == ["checkpoint-1"]


def test_memory_that_runs_out_in_the_optimizer_names_what_takes_less_there(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any, **__: Any) -> None:
        torch.empty(2**50)  # What AdamW does at its first step, and the real error of a CPU.

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    message = r"in the optimizer, at step 1; .*lower adapter.rank or adapter.top_layers"
    with pytest.raises(OneGenError, match=message):
        run(write_recipe(tmp_path, base))


def test_another_error_of_the_optimizer_is_not_called_memory(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(RuntimeError, match="something else"):
        run(write_recipe(tmp_path, base))


def test_the_memory_of_a_cpu_that_runs_out_in_a_batch_names_the_knobs(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*_: Any, **__: Any) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(Objective, "forward", forward)
    message = r"at step 1, in a batch of .*halve trainer.per_device_train_batch_size"
    with pytest.raises(OneGenError, match=message):
        run(write_recipe(tmp_path, base))


def test_every_error_for_a_lack_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**50)
    assert type(found.value) is RuntimeError
    for error in (found.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
