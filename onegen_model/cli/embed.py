"""`onegen embed`: embeds a corpus into shards, with one process or several."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.reading_options import SkippedFiles, reading_options
from onegen_model.documents.document import Document
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.documents.reading import distinct, read_found
from onegen_model.documents.splitting import PassageSplitter
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.indexing.held import root_of
from onegen_model.retrieval.corpus_building import (
    CorpusOptions,
    CorpusReport,
    Worker,
    build_corpus,
)
from onegen_model.retrieval.corpus_writer import begin

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel


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
    skipped = SkippedFiles(options.skip_bad)
    documents = _read(options, worker, skipped)
    _use_own_device()
    model = load_model(options.model, options.dtype)
    begin(out, building.spec(model))  # A folder that cannot be used is reported before reading.
    passages = _split(documents, model)
    with Interrupts() as interrupts:
        report = build_corpus(
            model,
            passages,
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
    return skipped.report() if worker.is_first else 0


def _read(options: Namespace, worker: Worker, skipped: SkippedFiles) -> Iterator[Document]:
    reading = reading_options(options)
    found = find_files(options.paths, reading)
    if worker.is_first:
        warn_of_skipped(found)
    return read_found(
        found,
        root=root_of(Path(options.out)),
        options=reading,
        on_failure=skipped.on_failure,
        progress=None if worker.is_first else False,
    )


def _split(documents: Iterable[Document], model: "OneGenModel") -> list[Passage]:
    splitter = PassageSplitter.for_model(model)
    passages = [passage for document in distinct(documents) for passage in splitter.split(document)]
    if not passages:
        raise InvalidInputError(
            "All documents are empty; expected some text; choose other files or folders"
        )
    return passages


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
