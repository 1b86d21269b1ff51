"""`onegen index`: keeps an index in step with documents, lists it, and removes from it."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.cli.index_reports import (
    report_files,
    report_removal,
    report_scan,
    report_sync,
)
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.printable import printable
from onegen_model.cli.reading_options import FILES_WERE_SKIPPED, SkippedFiles, reading_options
from onegen_model.errors import InvalidInputError, OneGenError
from onegen_model.indexing.job import IndexingJob
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.reading import Reading
from onegen_model.indexing.removal import list_files, prune_index, remove_from_index
from onegen_model.indexing.reports import IndexReport
from onegen_model.indexing.selection import Selection, select_files
from onegen_model.indexing.sync import grow_index, scan_files
from onegen_model.indexing.watching import import_watchfiles, watch_files
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.index import PassageIndex

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel

# They change nothing about other tasks, and a removal after --dry-run would be a surprise.
_FOR_PATHS = ("scan", "watch", "keep_missing", "skip_bad", "include", "exclude")


def run_index(options: Namespace, load_model: "LoadModel") -> int:
    _require_one_task(options)
    if options.list is not None:
        folder = Path(options.list) if options.list else _out(options)
        report_files(folder, *list_files(folder), as_json=options.json)
        return 0
    out = _out(options)
    if options.remove:
        report_removal(out, remove_from_index(out, options.remove), as_json=options.json)
        return 0
    if not options.paths:
        report_removal(out, prune_index(out), as_json=options.json)
        return 0
    return _sync(options, load_model, out)


def _require_one_task(options: Namespace) -> None:
    tasks = {
        "PATH": bool(options.paths),
        "--list": options.list is not None,
        "--remove": bool(options.remove),
    }
    chosen = [name for name, is_chosen in tasks.items() if is_chosen]
    if not chosen and not options.prune:
        raise InvalidInputError(
            "Nothing is given to index; expected files or folders, or --list, --remove or --prune; "
            "name some (see `onegen index --help`)"
        )
    if len(chosen) > 1 or (options.prune and chosen not in ([], ["PATH"])):
        raise InvalidInputError(
            f"{' and '.join([*chosen, *(['--prune'] if options.prune else [])])} are given; "
            "expected one of them; run one command after the other"
        )
    given = [f"--{name.replace('_', '-')}" for name in _FOR_PATHS if getattr(options, name)]
    if given and not options.paths:
        raise InvalidInputError(
            f"{given[0]} is given without files or folders; expected them, because it says how "
            "they are followed; add them, or leave it out"
        )
    if options.scan and options.watch:
        raise InvalidInputError("--scan and --watch are given; expected one of them; leave one out")


def _out(options: Namespace) -> Path:
    if not options.out:
        raise InvalidInputError("There is no --out; expected the folder of an index; add --out DIR")
    return Path(options.out)


def _sync(options: Namespace, load_model: "LoadModel", out: Path) -> int:
    if options.watch:
        import_watchfiles()  # A missing package is reported before the model is loaded.
    indexing = IndexingOptions(
        batch=options.batch,
        keep_missing=options.keep_missing,
        prune=options.prune,
        skip_bad=options.skip_bad,
        reading=reading_options(options),
        on_scan=lambda scan: report_scan(scan, as_json=options.json),
    )
    selection = select_files(options.paths, indexing.reading)
    if options.scan:
        model = load_model(options.model, options.dtype)
        report_scan(scan_files(model, selection, out, options=indexing), as_json=options.json)
        return 0
    # Held before the model is loaded, which takes seconds: a second run ends at once.
    with hold_for_writing(out):
        model = load_model(options.model, options.dtype)
        with Interrupts() as interrupts:
            syncing = _Syncing(options, out, indexing, interrupts, model)
            status = syncing.sync(selection)
    if options.watch and status in (0, FILES_WERE_SKIPPED):
        with Interrupts() as syncing.interrupts:
            return syncing.watch()
    return status


class _Syncing:
    """Syncs with one loaded model, once or many times."""

    def __init__(
        self,
        options: Namespace,
        out: Path,
        indexing: IndexingOptions,
        interrupts: Interrupts,
        model: Any,
    ) -> None:
        self.options = options
        self.out = out
        self.indexing = indexing
        self.interrupts = interrupts
        self.model = model

    def sync(self, selection: Selection, *, quiet: bool = False) -> int:
        """The exit status; `quiet` says nothing where nothing has changed."""
        report = grow_index(
            self.model,
            selection,
            self.out,
            options=self.indexing,
            progress=None,
            should_stop=lambda: self.interrupts.requested,
        )
        if not report.is_whole:
            done = f"{report.done} of {report.total} passages are in {self.out}"
            if report.unread:
                done = f"{report.unread} files were not read, and nothing was written"
            sys.stderr.write(f"onegen: stopped; {done}; run the same command again to continue\n")
            return INTERRUPTED
        if not (quiet and report.is_in_step):
            report_sync(self.out, report, as_json=self.options.json)
        return SkippedFiles(True, list(report.failures)).report()

    def watch(self) -> int:
        """Syncs after each change, until Ctrl-C; an error is reported, and the watch goes on."""
        paths = [Path(path) for path in self.options.paths]
        self.indexing = replace(self.indexing, on_scan=None)
        sys.stderr.write("onegen: watching; Ctrl-C ends it\n")
        for _ in watch_files(paths, self.out, lambda: self.interrupts.requested):
            try:
                selection = select_files(self.options.paths, self.indexing.reading)
                if self.sync(selection, quiet=True) == INTERRUPTED:
                    return INTERRUPTED
            except OneGenError as error:
                sys.stderr.write(f"onegen: error: {printable(str(error))}\n")
        return 0


def grow(index: PassageIndex, out: Path, reading: Reading, batch: int) -> IndexReport:
    """Embed and save new passages with a progress bar; Ctrl-C stops it."""
    with Interrupts() as interrupts:
        job = IndexingJob(index, out, IndexingOptions(batch=batch), lambda: interrupts.requested)
        return job.grow(reading, progress=None)
