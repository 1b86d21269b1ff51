"""`onegen index`: reads documents into an index."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.documents.finding import find_files
from onegen_model.indexing.job import (
    IndexingJob,
    IndexingOptions,
    IndexReport,
    Reading,
    grow_index,
)
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.index import PassageIndex

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel


def run_index(options: Namespace, load_model: "LoadModel") -> int:
    indexing = IndexingOptions(batch=options.batch)
    found, out = find_files(options.paths), Path(options.out)
    # Held before the model is loaded, which takes seconds: a second run ends at once.
    with hold_for_writing(out):
        model = load_model(options.model, options.dtype)
        with Interrupts() as interrupts:
            growth = grow_index(
                model,
                found,
                out,
                options=indexing,
                progress=None,
                should_stop=lambda: interrupts.requested,
            )
    if not growth.is_whole:
        sys.stderr.write(
            f"onegen: stopped; {growth.done} of {growth.total} passages are in {out}; run the same "
            "command again to continue\n"
        )
        return INTERRUPTED
    _report(out, growth, as_json=options.json)
    return 0


def grow(index: PassageIndex, out: Path, reading: Reading, batch: int) -> IndexReport:
    """Embed and save new passages with a progress bar; Ctrl-C stops it."""
    with Interrupts() as interrupts:
        job = IndexingJob(index, out, IndexingOptions(batch=batch), lambda: interrupts.requested)
        return job.grow(reading, progress=None)


def _report(out: Path, growth: IndexReport, *, as_json: bool) -> None:
    numbers = {
        "passages": growth.passages,
        "embedded": growth.embedded,
        "unchanged": growth.done - growth.embedded,
        "removed": growth.removed,
    }
    if as_json:
        sys.stdout.write(json.dumps({"index": str(out), **numbers}, ensure_ascii=False) + "\n")
        return
    noun = "passage" if growth.passages == 1 else "passages"
    sys.stdout.write(
        f"{out}: {numbers['passages']} {noun} ({numbers['embedded']} embedded now, "
        f"{numbers['unchanged']} unchanged, {numbers['removed']} removed)\n"
    )
