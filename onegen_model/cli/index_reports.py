"""What `onegen index` prints."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onegen_model.cli.printable import printable
from onegen_model.indexing.held import HeldFile, is_gone, root_of
from onegen_model.indexing.reports import IndexReport
from onegen_model.indexing.scan import Scan
from onegen_model.progress import duration
from onegen_model.retrieval.updates import RemovalReport


def report_scan(scan: Scan, *, as_json: bool) -> None:
    """A line of JSON on stdout, or two lines of text on stderr."""
    if as_json:
        _write_json({"scan": scan.to_dict()})
        return
    kinds = ", ".join(
        f"{count.files} {kind or 'without a suffix'}"
        for kind, count in sorted(scan.kinds.items(), key=lambda item: -item[1].files)
    )
    todo = scan.files - scan.unchanged
    found = f" ({kinds}), {size(scan.bytes)}" if kinds else ""
    lines = [f"Scan: {_many(scan.files, 'file')}{found}"]
    gone = f", and {_many(scan.gone, 'file')} to remove" if scan.gone else ""
    if not todo:
        known = "All of them are in the index" if scan.files else "Nothing to embed"
        lines.append(f"{known}{gone}")
    else:
        time = "" if scan.seconds is None else f", {duration(scan.seconds)} of embedding"
        lines.append(
            f"{todo} new or changed, {scan.unchanged} unchanged{gone}: about "
            f"{_many(scan.passages, 'passage')}{time}; the index will take "
            f"{size(scan.index_bytes)}"
        )
    sys.stderr.write("\n".join(lines) + "\n")


def report_sync(out: Path, report: IndexReport, *, as_json: bool) -> None:
    """What a sync has done, on stdout."""
    if as_json:
        _write_json(
            {
                "index": str(out),
                "passages": report.passages,
                "embedded": report.embedded,
                "reused": report.reused,
                "removed": report.removed,
                "files": asdict(report.files),
                "failed": [
                    {"file": str(failure.path), "reason": failure.reason}
                    for failure in report.failures
                ],
            }
        )
        return
    counts = {"new": report.files.added, **asdict(report.files)}
    del counts["added"]
    files = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    reused = f", {report.reused} reused" if report.reused else ""
    sys.stdout.write(
        f"{out}: {_many(report.passages, 'passage')} ({report.embedded} embedded now{reused}, "
        f"{report.removed} removed; files: {files or 'none'})\n"
    )


def report_removal(out: Path, report: RemovalReport, *, as_json: bool) -> None:
    """How much was removed, on stdout."""
    if as_json:
        numbers = {"removed": report.passages, "documents": report.documents}
        _write_json({"index": str(out), **numbers})
        return
    sys.stdout.write(
        f"{out}: {_many(report.passages, 'passage')} of {_many(report.documents, 'document')} "
        "removed\n"
    )


def report_files(folder: Path, held: Sequence[HeldFile], others: int, *, as_json: bool) -> None:
    """One line for each file of an index, on stdout."""
    root = root_of(folder)
    rows = [
        {
            "source": file.source,
            "documents": file.documents,
            "passages": len(file.passages),
            "characters": file.characters,
            "pages": file.pages,
            "missing": is_gone(file.source, root),
        }
        for file in held
    ]
    if others:
        rows.append({"source": None, "passages": others})
    if as_json:
        for row in rows:
            _write_json(row)
        return
    if rows:
        sys.stdout.write(f"{'passages':>8} {'characters':>10} {'pages':>5}  source\n")
    for row in rows:
        cells = [row.get("passages"), row.get("characters"), row.get("pages")]
        first, second, third = ("" if cell is None else str(cell) for cell in cells)
        source = printable(str(row["source"] or "(added without a file)"))
        missing = " (the file is missing)" if row.get("missing") else ""
        sys.stdout.write(f"{first:>8} {second:>10} {third:>5}  {source}{missing}\n")
    passages = others + sum(len(file.passages) for file in held)
    sys.stdout.write(f"{folder}: {_many(passages, 'passage')} of {_many(len(held), 'file')}\n")


def _write_json(plain: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(plain, ensure_ascii=False) + "\n")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes, for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
