"""The same recipe under every launcher is the same run, ZeRO-2 and ZeRO-3 included; a killed one
goes on, with the passages that its processes remember.

torchrun is tried as a user would. What accelerate and deepspeed put into the environment and the
arguments of their processes is recorded from the real commands, and given to processes that are
forked: so each need not import everything again.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.training import last_checkpoint, run
from onegen_model.model import OneGenModel
from tests.support.development_sets import last_of, write_dev
from tests.support.finetuning import PASSAGES, losses_of, write_recipe
from tests.support.processes import (
    HAS_DEEPSPEED,
    ROOT,
    SCRIPT,
    free_port,
    killed_in_step_6,
    run_two,
)

# Records what a launcher passes to a process.
RECORDER = """
import json, os, pathlib, sys
file = pathlib.Path(__file__).parent / f"variables-{os.environ['RANK']}.json"
file.write_text(json.dumps({"environment": dict(os.environ), "arguments": sys.argv}))
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
# The rendezvous of a launcher ends with it.
PLACES = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE")


def launcher(name: str) -> list[str]:
    """The documented commands, and what keeps two of them on one machine apart."""
    if name == "torchrun":
        return TORCHRUN
    if name == "accelerate":
        start = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        return [*start, "--num_processes", "2", "--main_process_port", free_port()]
    start = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2"]
    return [*start, "--master_port", free_port()]


def launch(command: list[str], folder: Path) -> None:
    # Nobody's own accelerate config, and one thread for each process.
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HOME": str(folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def variables_of(
    name: str, folder: Path, recipe: Path
) -> tuple[list[Mapping[str, str]], list[str]]:
    """What a launcher adds to the environment of each process, and the arguments of the script."""
    recorder = folder / "recorder.py"
    recorder.write_text(RECORDER, encoding="utf-8")
    launch([*launcher(name), str(recorder), "--config", str(recipe)], folder)
    variables = [json.loads((folder / f"variables-{rank}.json").read_text()) for rank in range(2)]
    environments = [
        {
            key: value
            for key, value in one["environment"].items()
            if os.environ.get(key) != value and key not in PLACES
        }
        for one in variables
    ]
    assert [one["RANK"] for one in environments] == ["0", "1"]
    assert [one["WORLD_SIZE"] for one in environments] == ["2", "2"]
    arguments = [
        [given.replace(f"local_rank={rank}", "local_rank={rank}") for given in one["arguments"][1:]]
        for rank, one in enumerate(variables)
    ]
    assert arguments[0] == arguments[1]
    return environments, arguments[0]


def config_of(name: str, folder: Path) -> Path:
    """The shipped config; ZeRO-3 splits small matrices too, which a tiny model has only."""
    config = json.loads((ROOT / "training" / "configs" / f"{name}.json").read_text())
    if name == "zero3":
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def with_dev(folder: Path, base: Path, size: int, **changes: Any) -> Recipe:
    """Six examples of 1 to 21 times the same words, so that no process has the mean of all."""
    trainer = {"max_steps": 4, "save_steps": 1, "per_device_eval_batch_size": 2,
               "per_device_train_batch_size": size, **changes.pop("trainer", {})}  # fmt: skip
    recipe = write_recipe(
        folder, base, dev=str(write_dev(folder)), dev_metric="contrastive_loss", **changes,
        trainer=trainer,
    )  # fmt: skip
    lines = [json.loads(line) for line in recipe.train.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["segments"][1]["text"] = " by the sea" * (1 + 4 * number)
    recipe.train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return recipe


def evaluations_of(output: Path) -> list[dict[str, float]]:
    history = json.loads((last_of(output) / "trainer_state.json").read_text())["log_history"]
    names = ("eval_loss", "eval_contrastive_loss", "eval_recall@1", "eval_passages")
    return [{name: log[name] for name in names} for log in history if "eval_loss" in log]


def fork(arguments: list[str], folder: Path, **options: Any) -> None:
    codes, logs = run_two(arguments, folder, **options)
    assert codes == [0, 0], logs[-4000:]


@dataclass(frozen=True)
class Case:
    """What is trained, under which launcher ("": two processes without one), and which changes
    only the two processes get.
    """

    launcher: str
    changes: dict[str, Any]
    zero: str | None = None
    tied: bool = False
    accumulated: int = 1
    trainer: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        learnt = self.changes.get("method", "lora")
        return f"{self.launcher or 'processes'}-{self.zero}-{learnt}{'-tied' * self.tied}"


# Of queries against their own negatives a batch may be cut anywhere, in time as well.
BPR = {"contrastive": "bpr"}
SHARED = {"contrastive": "info_nce", "cross_device_negatives": True}
CASES = [
    Case("torchrun", BPR, accumulated=2, trainer={"activation_checkpointing": True}),
    Case("accelerate", BPR | {"method": "full"}, "zero3", tied=True),
    Case("deepspeed", BPR | {"method": "top_layers", "adapter": {"top_layers": 1}}, "zero2"),
    Case("", SHARED, "zero3", tied=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_launcher_trains_and_measures_what_one_process_does(
    bases: dict[bool, Path], tmp_path: Path, case: Case
) -> None:
    """A batch in one process, and in two that take one example at a time, of unequal lengths."""
    if case.zero:
        pytest.importorskip("deepspeed")
    base = bases[case.tied]
    alone = with_dev(tmp_path / "one", base, 2 * case.accumulated, **case.changes)
    run(alone)
    trainer = {"gradient_accumulation_steps": case.accumulated, **case.trainer}
    if case.zero:
        trainer["deepspeed"] = str(config_of(case.zero, tmp_path))
    both = with_dev(tmp_path / "two", base, 1, **case.changes, trainer=trainer)
    recipe = tmp_path / "two/recipe.yaml"
    if case.launcher == "torchrun":
        launch([*TORCHRUN, str(SCRIPT), "--config", str(recipe)], tmp_path)
    elif case.launcher:
        variables, arguments = variables_of(case.launcher, tmp_path, recipe)
        fork([str(SCRIPT), *arguments], tmp_path, variables=variables)
    else:
        fork([str(SCRIPT), "--config", str(recipe)], tmp_path)
    states = list(last_of(both.output).glob("global_step*/*optim_states*"))
    assert len(states) == (2 if case.zero else 0), "each process holds its share"
    for one, two in zip(losses_of(alone.output), losses_of(both.output), strict=True):
        assert two == pytest.approx(one, abs=1e-3)
    for one, two in zip(evaluations_of(alone.output), evaluations_of(both.output), strict=True):
        assert two == pytest.approx(one, abs=1e-3)
    kept = [json.loads((last_of(r.output) / "trainer_state.json").read_text())["best_global_step"]
            for r in (alone, both)]  # fmt: skip
    assert kept[0] == kept[1]
    passages = list(PASSAGES.values())
    vectors = [
        OneGenModel.from_pretrained(r.output).embed_passages(passages) for r in (alone, both)
    ]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-3)
    assert "2 processes" in (both.output / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zero", "changes"),
    [
        pytest.param(
            "zero2", BPR,
            marks=pytest.mark.skipif(not HAS_DEEPSPEED, reason="needs deepspeed"),
        ),
        # With room for all passages of the run, two processes remember what one does.
        (None, SHARED | {"cross_batch_negatives": 64}),
    ],
    ids=["zero2", "passages of other processes and batches"],
)  # fmt: skip
def test_a_run_killed_in_two_processes_resumes_with_the_same_losses(
    base: Path, tmp_path: Path, zero: str | None, changes: dict[str, Any]
) -> None:
    steps = {"max_steps": 8, "save_steps": 2}
    straight = write_recipe(tmp_path / "straight", base, **changes, trainer=steps)
    shared: dict[str, Any] = {"per_device_train_batch_size": 1}
    if zero:
        shared["deepspeed"] = str(config_of(zero, tmp_path))
    killed = write_recipe(tmp_path / "killed", base, **changes, trainer=steps | shared)
    run(straight)
    arguments = [str(SCRIPT), str(killed.output.parent / "recipe.yaml")]
    codes, logs = run_two(arguments, tmp_path, killed_in_step_6)
    assert codes == [-signal.SIGKILL] * 2, logs[-4000:]
    # Each process remembers its own passages.
    files = ["trainer_state.json", *([] if zero else [f"passage_memory_{n}.pt" for n in range(2)])]
    assert all((killed.output / "checkpoint-4" / name).is_file() for name in files)
    assert last_checkpoint(killed.output) == str(killed.output / "checkpoint-4")
    assert not (killed.output / "onegen.json").exists(), "it was killed on its way"
    fork(arguments, tmp_path)
    one, two = losses_of(straight.output), losses_of(killed.output)
    assert len(one) == len(two) == 8
    for expected, found in zip(one, two, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    passages = list(PASSAGES.values())
    vectors = [
        OneGenModel.from_pretrained(r.output).embed_passages(passages) for r in (straight, killed)
    ]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-3)


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that was never stopped."""
    return run(write_recipe(tmp_path_factory.mktemp("whole"), base))


@pytest.mark.parametrize("damage", ["half", "empty", "no number"])
def test_half_a_checkpoint_is_left_out(
    base: Path, whole: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a kill in the middle of a save leaves behind must not be taken for a start."""
    recipe = write_recipe(tmp_path, base)
    output = Path(shutil.copytree(whole, recipe.output))
    straight = losses_of(output)
    last = output / "checkpoint-6"
    if damage == "half":
        (last / "trainer_state.json").unlink()
        (last / "optimizer.pt").unlink()
    elif damage == "empty":
        (last / "trainer_state.json").write_text("")
    else:
        shutil.move(last, output / "checkpoint-new")
    assert last_checkpoint(output) == str(output / "checkpoint-3")
    assert (f"{last} is not complete" in caplog.text) == (damage != "no number")
    shutil.rmtree(output / "checkpoint-new", ignore_errors=True)
    resumed = losses_of(run(recipe))
    assert len(resumed) == 6
    for one, two in zip(straight, resumed, strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_a_run_that_has_ended_takes_no_step_more(base: Path, tmp_path: Path) -> None:
    """Four steps end in the middle of an epoch of three: once more started, it took a fifth."""
    recipe = write_recipe(tmp_path, base, trainer={"max_steps": 4})
    output = run(recipe)
    adapter = (output / "adapter_model.safetensors").read_bytes()
    run(recipe)
    assert len(losses_of(output)) == 4
    assert (output / "adapter_model.safetensors").read_bytes() == adapter
