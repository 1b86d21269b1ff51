"""Runs of entity linking with frozen layers: resumed, and in two processes, they are the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from onegen_model.cli import main
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.training import run
from tests.support.finetuning import losses_of, write_linking_recipe
from tests.support.processes import SCRIPT, run_two

FROZEN = {"rank": 4, "alpha": 8, "frozen": 1}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def tied_base(request: pytest.FixtureRequest, bases: dict[bool, Path]) -> Path:
    return bases[request.param]


def linker(folder: Path, base: Path, trained: Path, **changes: Any) -> Recipe:
    """A recipe that goes on from a trained linker or adapter and keeps its first layer."""
    keys = {"adapter": FROZEN, "cross_batch_negatives": 8} | changes
    return write_linking_recipe(folder, base, adapter_from=str(trained), **keys)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_a_resumed_run_with_frozen_layers_is_the_unbroken_one(
    tied_base: Path, tmp_path: Path
) -> None:
    trained = run(write_linking_recipe(tmp_path / "first", tied_base, trainer={"max_steps": 2}))
    whole = run(linker(tmp_path / "whole", tied_base, trained))
    cut = linker(tmp_path / "cut", tied_base, trained)
    shutil.copytree(whole / "checkpoint-3", cut.output / "checkpoint-3")
    resumed = run(cut)
    assert losses_of(resumed) == losses_of(whole)
    before, one, other = weights(trained), weights(whole), weights(resumed)
    assert one.keys() == other.keys() == before.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=0, rtol=0, msg=name)
        if ".layers.0." in name:
            assert torch.equal(one[name], before[name]), "the frozen layer is as it was"


def test_what_is_frozen_may_not_change_within_a_run(
    tied_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The layer was merged with other values than those that the checkpoint has learnt."""
    trained = run(write_linking_recipe(tmp_path / "first", tied_base, trainer={"max_steps": 1}))
    steps = {"max_steps": 1, "save_steps": 1}
    output = run(
        linker(tmp_path / "run", tied_base, trained, adapter={"rank": 4, "alpha": 8}, trainer=steps)
    )
    steps["max_steps"] = 2
    linker(tmp_path / "run", tied_base, trained, trainer=steps)
    command = ["train", str(tmp_path / "run/recipe.yaml")]
    assert main(command) == 2
    assert "was started with another adapter.frozen; expected the same" in capsys.readouterr().err
    linker(tmp_path / "run", tied_base, trained, adapter={"rank": 4, "alpha": 8}, trainer=steps)
    # As an earlier version wrote it, which knew neither.
    file = output / "run.json"
    plain = json.loads(file.read_text())
    del plain["adapter.frozen"]
    plain["collator"] |= {"chunk_tokens": 1, "max_padding": 0.3}
    file.write_text(json.dumps(plain))
    assert main(command) == 0


def test_the_padding_may_change_within_a_run(base: Path, tmp_path: Path) -> None:
    steps = {"max_steps": 1, "save_steps": 1}
    run(write_linking_recipe(tmp_path, base, trainer=steps))
    steps["max_steps"] = 2
    padding = {"chunk_tokens": 64, "max_padding": 0.1}
    output = run(write_linking_recipe(tmp_path, base, trainer=steps, collator=padding))
    assert len(losses_of(output)) == 2


@pytest.mark.slow
def test_two_processes_train_frozen_layers_as_one_does(tied_base: Path, tmp_path: Path) -> None:
    trained = run(write_linking_recipe(tmp_path / "first", tied_base, trainer={"max_steps": 2}))
    alone = linker(tmp_path / "one", tied_base, trained, cross_batch_negatives=0, contrastive="bpr")
    run(alone)
    both = linker(
        tmp_path / "two",
        tied_base,
        trained,
        cross_batch_negatives=0,
        contrastive="bpr",
        trainer={"per_device_train_batch_size": 1},
    )
    codes, logs = run_two([str(SCRIPT), "--config", str(tmp_path / "two/recipe.yaml")], tmp_path)
    assert codes == [0, 0], logs[-4000:]
    for one, two in zip(losses_of(alone.output), losses_of(both.output), strict=True):
        assert two == pytest.approx(one, abs=1e-3)
