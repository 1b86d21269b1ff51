"""Seconds and memory from the start of a process to the first token of an answer.

    python -m benchmarks.startup [--runs 5] [--threads 1 2] [--model M]

Each run is a process of its own, with weights merged anew (`ONEGEN_MERGED=0`) and with cached ones
in turn, so that a busy machine slows down both. The first run of all, which fills the caches, is
not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

QUESTION = "When was the director of The Blue Door born?"
TEXT = "The Blue Door is a 1962 film by Ada Lindqvist, who was born on 4 May 1921."
PHASES = ("import", "load", "index", "first token")
WAYS = {"merged anew": "0", "cached": "1"}


def measure(model_name: str | None) -> dict[str, float]:
    """Seconds of each phase as a command goes through them, CPU seconds, and memory in MiB."""
    marks = [time.perf_counter()]
    from onegen_model.checkpoint.collector import paused_collector

    with paused_collector():
        from onegen_model import OneGenModel, Passage, PassageIndex

        marks.append(time.perf_counter())
        model = OneGenModel.from_pretrained(model_name)
        marks.append(time.perf_counter())
    index = PassageIndex.build(model, [Passage("1", TEXT)])
    marks.append(time.perf_counter())
    with model.stream(QUESTION, retriever=index) as events:
        next(events)
        marks.append(time.perf_counter())
        cpu = time.process_time()
    found = dict(zip(PHASES, (end - start for start, end in pairwise(marks)), strict=True))
    return {**found, "CPU": cpu, **_memory()}


def _memory() -> dict[str, float]:
    """`own` is memory that only this process has; `peak` counts the mapped files too."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    kib = {"own": "RssAnon", "peak": "VmHWM"}
    return {name: int(lines[key].split()[0]) / 1024 for name, key in kib.items()}


def run(way: str, threads: int, model_name: str | None) -> dict[str, float]:
    """One process; `total` counts from its start to the first token."""
    command = [sys.executable, "-m", "benchmarks.startup", "--once"]
    command += ["--model", model_name] if model_name else []
    environment = {**os.environ, "ONEGEN_MERGED": WAYS[way], "OMP_NUM_THREADS": str(threads)}
    started = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "total": found.pop("at") - started}


def summary(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Median of each column, and the least total."""
    middle = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    return {**middle, "least total": min(one["total"] for one in runs)}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown with one row for each way and number of threads."""
    columns = [*PHASES, "total", "least total", "CPU", "own", "peak"]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [
            f"{row[one]:.0f}" if one in ("own", "peak") else f"{row[one]:.2f}" for one in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.once:
        found = measure(options.model)
        print(json.dumps({**found, "at": time.time()}))
        return 0
    run("cached", options.threads[0], options.model)
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.runs):
        for threads in options.threads:
            for way in WAYS:
                one = run(way, threads, options.model)
                runs.setdefault(f"{way}, threads: {threads}", []).append(one)
    print(table({name: summary(some) for name, some in runs.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
