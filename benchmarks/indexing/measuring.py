"""Indexing jobs in processes of their own, so that each has a peak of memory of its own."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.indexing.fake import ConstantTimeEmbedder, WatchedModel
from onegen_model import OneGenModel
from onegen_model.indexing.sync import grow_index


@dataclass(frozen=True, slots=True)
class Job:
    """`embedder` "real": the default checkpoint; "fake": its tokenizer and vectors from a hash;
    "words": no model at all, a token is a word.
    """

    folder: Path
    out: Path
    embedder: str
    seconds_per_passage: float = 0.0


def run_apart(job: Job) -> dict[str, Any]:
    """Run a job in another process; returns what it measured."""
    command = [sys.executable, "-m", "benchmarks.indexing", "job", str(job.folder), str(job.out)]
    command += ["--embedder", job.embedder, "--seconds-per-passage", str(job.seconds_per_passage)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def run(job: Job) -> dict[str, Any]:
    """Index a folder and measure it.

    Seconds are those of the processor, which other processes of the machine do not lengthen;
    "wall_seconds" are not.
    """
    embedder = _embedder(job)
    opened: set[str] = set()
    folder = str(job.folder.resolve())

    def count(event: str, args: tuple[Any, ...]) -> None:
        name = str(args[0]) if event == "open" else ""
        if name.startswith(folder) and name.endswith(".md"):
            opened.add(name)

    sys.addaudithook(count)
    before = _reset_peak()
    started, clock = time.process_time(), time.perf_counter()
    report = grow_index(embedder, [job.folder], job.out)
    return {
        "seconds": time.process_time() - started,
        "wall_seconds": time.perf_counter() - clock,
        "embedding_seconds": embedder.seconds,
        "embedded": embedder.passages,
        "passages": report.passages,
        "files_opened": len(opened),
        "files_read": report.files.added + report.files.changed,
        "peak_mib": _mib("VmHWM"),
        "mib_before": before,
        "index_bytes": sum(path.stat().st_size for path in job.out.rglob("*") if path.is_file()),
    }


def _embedder(job: Job) -> ConstantTimeEmbedder | WatchedModel:
    if job.embedder == "words":
        return ConstantTimeEmbedder(job.seconds_per_passage)
    model = OneGenModel.from_pretrained()
    if job.embedder == "real":
        return WatchedModel(model)
    count_tokens = model.count_tokens
    return ConstantTimeEmbedder(job.seconds_per_passage, count_tokens)


def _reset_peak() -> float:
    """Forget the peak of loading a model, which is higher than what stays; returns what does."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _mib("VmRSS")


def _mib(name: str) -> float:
    """A line of this process's status in MiB: "VmRSS" is its size, "VmHWM" the largest so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024
