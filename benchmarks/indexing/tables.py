"""Runs the measurements and prints their tables."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.indexing.folders import MEGABYTE, fill, fill_small
from benchmarks.indexing.measuring import Job, run_apart
from benchmarks.indexing.stress import Plan, run_stress

_MIB = 2**20


def show_time(work: Path, options: argparse.Namespace) -> int:
    fill(work / "real", int(options.real * MEGABYTE))
    real = run_apart(Job(work / "real", work / "real.index", "real"))
    rate = real["embedding_seconds"] / real["embedded"]
    rows, measured = [_time_row(f"{options.real:g}, embedded", real, rate)], {"real": real}
    for size in options.megabytes:
        folder = work / f"{size:g}"
        fill(folder, int(size * MEGABYTE))
        fake = run_apart(Job(folder, work / f"{size:g}.index", "fake"))
        rows.append(_time_row(f"{size:g}, embedding estimated", fake, rate))
        measured[f"{size:g} MB"] = fake
    heads = ["MB of text", "passages", "reading, splitting, saving s", "embedding s"]
    print(report.markdown([*heads, "peak MiB", "before indexing", "index MiB"], rows))
    return _save("indexing-time", options, measured)


def _time_row(name: str, one: Mapping[str, Any], rate: float) -> list[object]:
    return [
        name,
        one["passages"],
        f"{one['seconds'] - one['embedding_seconds']:.1f}",
        f"{rate * one['passages']:.0f}",
        f"{one['peak_mib']:.0f}",
        f"{one['mib_before']:.0f}",
        f"{one['index_bytes'] / _MIB:.0f}",
    ]


def show_sync(work: Path, options: argparse.Namespace) -> int:
    files = fill_small(work / "documents", options.files)
    job = Job(work / "documents", work / "sync.index", "words")
    measured = {"first run": run_apart(job), "nothing changed": run_apart(job)}
    for path in files[:: len(files) // options.changed][: options.changed]:
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\nThis sentence is new.\n", encoding="utf-8")
    measured[f"{options.changed} files changed"] = run_apart(job)
    rows = [
        [
            name,
            one["files_opened"],
            one["files_read"],
            one["passages"],
            one["embedded"],
            f"{one['seconds'] - one['embedding_seconds']:.2f}",
        ]
        for name, one in measured.items()
    ]
    heads = ["run", "files opened", "read", "passages", "embedded", "seconds without embedding"]
    print(report.markdown(heads, rows))
    return _save("indexing-sync", options, measured)


def show_stress(work: Path, plan: Plan, options: argparse.Namespace) -> int:
    counts = run_stress(work, plan)
    print(report.markdown(list(counts), [list(counts.values())]))
    _save("indexing-stress", options, counts)
    return int(any(counts[name] for name in ("lost", "stale", "wrong", "failed_processes")))


def _save(name: str, options: argparse.Namespace, measured: Mapping[str, Any]) -> int:
    label = "-".join(filter(None, [name, options.label]))
    print(f"\nWritten to {report.save_without_model(label, options, dict(measured))}")
    return 0
