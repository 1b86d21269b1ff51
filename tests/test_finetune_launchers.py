"""The same recipe under every launcher is the same run, ZeRO-2 and ZeRO-3 included; a killed one
goes on under ZeRO-2."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from onegen_model.finetune import run as run_module
from onegen_model.finetune.recipe import Recipe
from onegen_model.finetune.run import last_checkpoint, run
from onegen_model.model import OneGenModel
from tests.conftest import MakeNetwork
from tests.development_sets import last_of, write_dev
from tests.finetuning import PASSAGES, losses_of, make_base, write_recipe

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "training" / "finetune.py"
# DeepSpeed compiles shared-memory collectives on a CPU unless told that they do not work there.
UNCOMPILED = f"""
import runpy, sys
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_network: MakeNetwork) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "base", make_network)


def launcher(name: str) -> list[str]:
    """The documented commands, and what keeps two of them on one machine apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if name == "torchrun":
        return TORCHRUN
    if name == "accelerate":
        start = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        return [*start, "--num_processes", "2", "--main_process_port", port]
    start = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2"]
    return [*start, "--master_port", port]


def environment(folder: Path) -> dict[str, str]:
    # Nobody's own accelerate config, and one thread for each process.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HOME": str(folder)}


def launch(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def config_of(name: str, folder: Path) -> Path:
    """The shipped config; ZeRO-3 splits small matrices too, which a tiny model has only."""
    config = json.loads((ROOT / "training" / "configs" / f"{name}.json").read_text())
    if name == "zero3":
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


def uncompiled(folder: Path) -> Path:
    script = folder / "uncompiled.py"
    script.write_text(UNCOMPILED, encoding="utf-8")
    return script


def with_dev(folder: Path, base: Path, method: str, size: int, **trainer: Any) -> Recipe:
    """Each query against its own negatives, so that a batch may be cut anywhere."""
    layers = 1 if method == "top_layers" else 0
    steps = {"max_steps": 4, "save_steps": 1, "per_device_eval_batch_size": 2}
    return write_recipe(
        folder, base, contrastive="bpr", dev=str(write_dev(folder)), dev_metric="contrastive_loss",
        method=method, adapter={"rank": 4, "alpha": 8, "top_layers": layers},
        trainer={**steps, "per_device_train_batch_size": size, **trainer},
    )  # fmt: skip


def evaluations_of(output: Path) -> list[dict[str, float]]:
    history = json.loads((last_of(output) / "trainer_state.json").read_text())["log_history"]
    names = ("eval_loss", "eval_contrastive_loss", "eval_recall@1", "eval_passages")
    return [{name: log[name] for name in names} for log in history if "eval_loss" in log]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "zero", "method"),
    [
        ("torchrun", None, "lora"),
        ("accelerate", "zero3", "full"),
        ("deepspeed", "zero2", "top_layers"),
        ("torchrun", "zero3", "lora"),
    ],
)
def test_every_launcher_trains_and_measures_what_one_process_does(
    base: Path, tmp_path: Path, name: str, zero: str | None, method: str
) -> None:
    if zero:
        pytest.importorskip("deepspeed")
    alone = with_dev(tmp_path / "one", base, method, 2)
    run(alone)
    config = {"deepspeed": str(config_of(zero, tmp_path))} if zero else {}
    both = with_dev(tmp_path / "two", base, method, 1, **config)
    script = uncompiled(tmp_path) if zero else SCRIPT
    launch([*launcher(name), str(script), "--config", str(tmp_path / "two/recipe.yaml")], tmp_path)
    states = list(last_of(both.output).glob("global_step*/*optim_states*"))
    assert len(states) == (2 if zero else 0), "each process holds its share"
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


def stop(process: subprocess.Popen[bytes]) -> None:
    """Without a warning, and its workers with it."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=30)
    process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_a_run_killed_under_zero2_goes_on_with_the_same_losses(base: Path, tmp_path: Path) -> None:
    steps = {"max_steps": 14, "save_steps": 2}
    straight = write_recipe(tmp_path / "straight", base, contrastive="bpr", trainer=steps)
    shared = {"per_device_train_batch_size": 1, "deepspeed": str(config_of("zero2", tmp_path))}
    killed = write_recipe(tmp_path / "killed", base, contrastive="bpr", trainer=steps | shared)
    run(straight)
    command = [*TORCHRUN, str(uncompiled(tmp_path)), str(killed.output.parent / "recipe.yaml")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 400
        while not (killed.output / "checkpoint-4" / "trainer_state.json").is_file():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < end, "it never got to step 4"
            time.sleep(0.01)
    finally:
        stop(process)
    assert not (killed.output / "onegen.json").exists(), "it was killed on its way"
    before = last_checkpoint(killed.output)
    assert before is not None
    launch(command, tmp_path)
    one, two = losses_of(straight.output), losses_of(killed.output)
    assert len(one) == len(two) == 14
    for expected, found in zip(one, two, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    passages = list(PASSAGES.values())
    vectors = [
        OneGenModel.from_pretrained(r.output).embed_passages(passages) for r in (straight, killed)
    ]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        (["{recipe}"], None),
        (["--config", "{recipe}"], None),
        (["--local_rank=1", "--config", "{recipe}"], None),
        (["--local-rank", "0", "{recipe}", "--max-steps", "3"], 3),
    ],
)
def test_the_recipe_may_be_named_either_way_and_a_launcher_may_add_the_rank(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    steps: int | None,
) -> None:
    recipe = write_recipe(tmp_path, base)
    asked: list[tuple[Recipe, int | None]] = []
    monkeypatch.setattr(run_module, "run", lambda *given: asked.append(given))
    file = str(tmp_path / "recipe.yaml")
    monkeypatch.setattr(sys, "argv", ["finetune.py", *(a.format(recipe=file) for a in arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert asked == [(recipe, steps)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one recipe; give its path, or --config PATH"),
        (["a.yaml", "--config", "b.yaml"], "expected one recipe"),
        (["a.yaml", "--max-steps", "0"], "--max-steps is 0; expected at least 1"),
        (["--local_rank", "first", "a.yaml"], "invalid int value: 'first'"),
    ],
)
def test_arguments_that_name_no_run_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune.py", *arguments])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert message in capsys.readouterr().err


def test_a_recipe_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune.py", "--config", "nowhere.yaml"])
    with pytest.raises(SystemExit, match=r"^error: No recipe nowhere.yaml; expected a YAML file"):
        runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.parametrize("damage", ["half", "empty", "no number"])
def test_half_a_checkpoint_is_left_out(
    base: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a kill in the middle of a save leaves behind must not be taken for a start."""
    recipe = write_recipe(tmp_path, base)
    output = run(recipe)
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
    assert (f"{last} is not whole" in caplog.text) == (damage != "no number")
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
