"""Two processes of one run, forked from a server that has imported everything once."""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "finetune.py"
HAS_DEEPSPEED = find_spec("deepspeed") is not None
_LIMIT = 400  # seconds

Prepare = Callable[[], None]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def server() -> Any:
    """The context of a server that runs on one thread and knows this repository."""
    context = multiprocessing.get_context("forkserver")
    loaded = ["onegen_model.finetune.run.training", *(["deepspeed"] if HAS_DEEPSPEED else [])]
    context.set_forkserver_preload(loaded)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return context


def without_shared_memory() -> None:
    """DeepSpeed compiles collectives for a CPU unless this is set."""
    if HAS_DEEPSPEED:
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def killed_in_step_6() -> None:
    """As by `kill -9`: step 5 needed both processes, so what step 4 saved is whole."""
    from onegen_model.finetune.run.trainer import JointTrainer

    step = JointTrainer.training_step

    def killed(self: JointTrainer, *args: Any) -> Any:
        if self.state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args)

    JointTrainer.training_step = killed  # type: ignore[method-assign]


def spoiled_in_step_2() -> None:
    """The last process has an infinite gradient; its loss stays what it is."""
    from onegen_model.finetune.loss.objective import Objective

    forward, batches = Objective.forward, []

    def spoiled(self: Objective, *args: Any, **options: Any) -> dict[str, Any]:
        outputs = forward(self, *args, **options)
        batches.append(options["ids"])
        if len(batches) == 2 and os.environ["RANK"] == "1":
            outputs["loss"].register_hook(lambda gradient: gradient * float("inf"))
        return outputs

    Objective.forward = spoiled  # type: ignore[assignment]


def _enter(environment: Mapping[str, str], target: Callable[..., None], arguments: Any) -> None:
    os.environ.update(environment)
    without_shared_memory()
    target(*arguments)


def fork_two(
    target: Callable[..., None],
    arguments: Sequence[tuple[Any, ...]],
    variables: Sequence[Mapping[str, str]] = ({}, {}),
) -> list[Any]:
    """Two processes that connect like those of a launcher; `variables` join their environments."""
    port, context = free_port(), server()
    workers = []
    for rank in range(2):
        environment = {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
            **{"LOCAL_WORLD_SIZE": "2", **variables[rank]},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        }
        workers.append(context.Process(target=_enter, args=(environment, target, arguments[rank])))
    for worker in workers:
        worker.start()
    return workers


def _run_script(arguments: Sequence[str], prepare: Prepare | None, log: str) -> None:
    with open(log, "w", encoding="utf-8") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    if prepare is not None:
        prepare()
    sys.argv = list(arguments)
    runpy.run_path(arguments[0], run_name="__main__")


def run_two(
    arguments: Sequence[str],
    folder: Path,
    prepare: Prepare | None = None,
    variables: Sequence[Mapping[str, str]] = ({}, {}),
) -> tuple[list[int], str]:
    """Exit codes and output of a script in two processes, each with its `{rank}` in arguments."""
    logs = [folder / f"process-{rank}.log" for rank in range(2)]
    given = [[argument.format(rank=rank) for argument in arguments] for rank in range(2)]
    scripts = [(own, prepare, str(log)) for own, log in zip(given, logs, strict=True)]
    workers = fork_two(_run_script, scripts, variables)
    for worker in workers:
        worker.join(_LIMIT)
        worker.kill()
        worker.join()
    written = "".join(log.read_text("utf-8") for log in logs)
    return [int(worker.exitcode) for worker in workers], written
