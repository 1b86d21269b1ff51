"""`onegen embed`: embeds a corpus into shards, with one process or several."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.indexing.job import read_passages, require_some, root_of
from onegen_model.retrieval.corpus_building import (
    CorpusOptions,
    CorpusReport,
    Worker,
    build_corpus,
)
from onegen_model.retrieval.corpus_writer import begin

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel


def run_embed(options: Namespace, load_model: "LoadModel") -> int:
    building = CorpusOptions(
        shard_size=options.shard_size,
        stored_as=options.store_as,
        dtype=options.dtype,
        batch=options.batch,
        worker=Worker.from_environment(),
    )
    worker, out = building.worker, Path(options.out)
    progress = None if worker.is_first else False
    found = find_files(options.paths)
    if worker.is_first:
        warn_of_skipped(found)
    _use_own_device()
    model = load_model(options.model, options.dtype)
    begin(out, building.spec(model))  # A folder that cannot be used is reported before reading.
    reading = read_passages(model, found.files, root_of(out), progress=progress)
    require_some(reading)
    with Interrupts() as interrupts:
        report = build_corpus(
            model,
            reading.passages,
            out,
            options=building,
            progress=progress,
            should_stop=lambda: interrupts.requested,
        )
    if report.was_stopped:
        if worker.is_first:
            sys.stderr.write(
                f"onegen: stopped; {report.present} of {_count(report.shards)} are in {out}; run "
                "the same command again to continue\n"
            )
        return INTERRUPTED
    if report.has_finished:
        _report(report, out, worker, as_json=options.json)
    return 0


def _use_own_device() -> None:
    if (local_rank := os.environ.get("LOCAL_RANK", "")).isdecimal():
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(int(local_rank) % torch.cuda.device_count())


def _report(report: CorpusReport, out: Path, worker: Worker, *, as_json: bool) -> None:
    """`embedded` counts the passages of this process."""
    numbers = {
        "passages": report.passages,
        "shards": report.shards,
        "embedded": report.embedded,
    }
    if as_json:
        line = json.dumps({"corpus": str(out), **numbers}, ensure_ascii=False)
    else:
        by = f" by the last of {worker.count} processes" if worker.count > 1 else ""
        line = (
            f"{out}: {report.passages} passages in {_count(report.shards)} "
            f"({report.embedded} embedded now{by})"
        )
    sys.stdout.write(f"{line}\n")


def _count(shards: int) -> str:
    return f"{shards} shard{'' if shards == 1 else 's'}"
