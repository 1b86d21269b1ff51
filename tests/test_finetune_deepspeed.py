"""ZeRO-2 and ZeRO-3 with two processes on the CPU: the same losses, a checkpoint that loads.

LoRA under both, and plain data parallelism, are in `test_finetune_launchers`.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from onegen_model.finetune.run import run
from onegen_model.model import OneGenModel
from tests.conftest import MakeNetwork
from tests.test_finetune_methods import PASSAGES, losses_of, make_base, write_recipe

ROOT = Path(__file__).parent.parent
# DeepSpeed compiles shared-memory collectives on a CPU unless told that they do not work there.
LAUNCHED = """
import runpy, sys
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
sys.argv[0] = "finetune.py"
runpy.run_path("training/finetune.py", run_name="__main__")
"""


def config_of(name: str, folder: Path) -> Path:
    """The shipped config; ZeRO-3 splits small matrices too, which a tiny model has only."""
    plain = json.loads((ROOT / "training" / "configs" / f"{name}.json").read_text())
    if name == "zero3":
        plain["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    file = folder / f"{name}.json"
    file.write_text(json.dumps(plain), encoding="utf-8")
    return file


def launch(folder: Path) -> None:
    """The documented command, with two processes."""
    script = folder / "launched.py"
    script.write_text(LAUNCHED, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    command += ["2", str(script), str(folder / "recipe.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize(("config", "method"), [("zero2", "top_layers"), ("zero3", "full")])
def test_two_processes_train_what_one_trains(
    tmp_path: Path, make_network: MakeNetwork, config: str, method: str
) -> None:
    base = make_base(tmp_path / "base", make_network)
    common: dict[str, Any] = {
        "method": method,
        "contrastive": "bpr",
        "adapter": {"rank": 4, "alpha": 8, "top_layers": 1 if method == "top_layers" else 0},
    }
    steps = {"max_steps": 4, "save_steps": 4}
    alone = write_recipe(
        tmp_path / "one", base, **common, trainer={**steps, "per_device_train_batch_size": 2}
    )
    deepspeed = str(config_of(config, tmp_path))
    shared = {**steps, "per_device_train_batch_size": 1, "deepspeed": deepspeed}
    both = write_recipe(tmp_path / "two", base, **common, trainer=shared)
    run(alone)
    launch(tmp_path / "two")
    states = list(both.output.glob("checkpoint-4/global_step*/*optim_states*"))
    assert len(states) == 2, "each rank holds its share"
    for one, two in zip(losses_of(alone.output), losses_of(both.output), strict=True):
        assert two == pytest.approx(one, abs=1e-3)
    passages = list(PASSAGES.values())
    vectors = [
        OneGenModel.from_pretrained(r.output).embed_passages(passages) for r in (alone, both)
    ]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-3)
