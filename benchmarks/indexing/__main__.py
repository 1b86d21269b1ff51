"""What indexing costs, and what it keeps when things go wrong.

    python -m benchmarks.indexing time [--megabytes 1 10 100] [--real 1]
    python -m benchmarks.indexing sync [--files 1000] [--changed 10]
    python -m benchmarks.indexing stress

`time` indexes Markdown files with the default checkpoint (`--real`, in MB) and, for larger folders,
with a fake in the place of embedding: reading, splitting and saving are measured, embedding is the
measured rate times the number of passages. `sync` indexes small files, changes some and indexes
again. `stress` lets two writers, one that is killed and a reader work on one index.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.indexing import tables
from benchmarks.indexing.measuring import Job, run
from benchmarks.indexing.stress import Plan


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.command == "job":
        job = Job(options.folder, options.out, options.embedder, options.seconds_per_passage)
        print(json.dumps(run(job)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        if options.command == "time":
            return tables.show_time(Path(work), options)
        if options.command == "sync":
            return tables.show_sync(Path(work), options)
        return tables.show_stress(Path(work), Plan(), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("time", help="seconds and memory by size")
    timing.add_argument("--megabytes", type=float, nargs="+", default=[1, 10, 100])
    timing.add_argument("--real", type=float, default=1, help="MB embedded by the real model")
    sync = commands.add_parser("sync", help="a second run after some files changed")
    sync.add_argument("--files", type=int, default=1_000)
    sync.add_argument("--changed", type=int, default=10)
    stress = commands.add_parser("stress", help="writers, a killed one and a reader at once")
    for one in (timing, sync, stress):
        one.add_argument("--work", type=Path, help="folder for temporary files")
        one.add_argument("--label", default="", help="part of the name of the result")
    job = commands.add_parser("job", help="one run, in a process of its own")
    job.add_argument("folder", type=Path)
    job.add_argument("out", type=Path)
    job.add_argument("--embedder", choices=["real", "fake", "words"], default="fake")
    job.add_argument("--seconds-per-passage", type=float, default=0.0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
