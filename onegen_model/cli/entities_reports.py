"""What `onegen entities` prints."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onegen_model.cli.index_reports import size
from onegen_model.cli.printable import printable
from onegen_model.cli.reading_options import FILES_WERE_SKIPPED
from onegen_model.events import Passage
from onegen_model.indexing.entities import EntityEstimate, EntityReport
from onegen_model.indexing.entity_import import EntityImport
from onegen_model.indexing.published_vectors import PublishedVectors
from onegen_model.linking.entities import entity_name
from onegen_model.progress import duration

# Vectors of the same model agree better than this, in any dtype.
_AGREEING = 0.9
# So many bad records are named.
_NAMED = 20
_BYTES = {"float32": 4, "float16": 2}


def report_estimate(estimate: EntityEstimate, *, as_json: bool) -> None:
    """A line of JSON on stdout, or a line of text on stderr."""
    if as_json:
        _write_json({"estimate": asdict(estimate)})
        return
    embedding = "none" if not estimate.embedding else f"{estimate.embedding:,}"
    time = "" if estimate.seconds is None else f", about {duration(estimate.seconds)}"
    sys.stderr.write(
        f"{_many(estimate.given)}, {embedding} to embed{time}; the index takes about "
        f"{size(estimate.disk_bytes)} on disk and {size(estimate.memory_bytes)} of memory beside "
        "the model, up to twice as much while it grows\n"
    )


def report_index(out: Path, report: EntityReport, *, as_json: bool) -> None:
    """What was done, on stdout."""
    if as_json:
        numbers = asdict(report)
        for name in ("given", "done"):
            del numbers[name]
        _write_json({"index": str(out), **numbers})
        return
    counts = {"new": report.added, "changed": report.changed, "unchanged": report.unchanged}
    given = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    reused = f", {report.reused:,} reused" if report.reused else ""
    cut = f", {report.cut:,} of them cut to the model's passage length" if report.cut else ""
    sys.stdout.write(
        f"{out}: {_many(report.entities)} ({report.embedded:,} embedded now{cut}{reused}; given: "
        f"{given})\n"
    )


def report_bad(problems: Sequence[str]) -> None:
    """Name the first records that cannot be used, a line each, on stderr."""
    sys.stderr.writelines(f"  {printable(problem)}\n" for problem in problems[:_NAMED])
    if len(problems) > _NAMED:
        sys.stderr.write(f"  and {len(problems) - _NAMED} more\n")


def report_skipped(problems: Sequence[str]) -> int:
    """Name records that were left out on stderr; the exit status of the command."""
    if not problems:
        return 0
    count = len(problems)
    what = "1 record was" if count == 1 else f"{count} records were"
    sys.stderr.write(f"onegen: {what} skipped:\n")
    sys.stderr.writelines(f"  {printable(problem)}\n" for problem in problems)
    return FILES_WERE_SKIPPED


def report_published(published: PublishedVectors, stored_as: str, *, as_json: bool) -> None:
    """What is about to be written, as `report_estimate` shows it."""
    count, dimension = published.rows.shape
    disk = count * dimension * _BYTES[stored_as]
    if as_json:
        estimate = {"given": count, "dimension": dimension, "disk_bytes": disk}
        _write_json({"estimate": estimate})
        return
    sys.stderr.write(
        f"{count:,} vectors of dimension {dimension}; the index takes about {size(disk)} on disk\n"
    )


def report_import(out: Path, report: EntityImport, *, as_json: bool) -> None:
    """What was imported, on stdout, and a doubt about the model, on stderr."""
    if report.agreement is not None and report.agreement < _AGREEING:
        sys.stderr.write(
            "onegen: the vectors are probably of another model, or of other names and "
            f"descriptions: the cosine with what this model makes is {report.agreement:.2f}\n"
        )
    if as_json:
        _write_json({"index": str(out), **asdict(report)})
        return
    notes = {
        "named by their ids": report.unnamed,
        "vectors beside the first of an id": report.repeated,
        "entities of the list without a vector": report.without_vector,
    }
    shown = "; ".join(f"{count:,} {what}" for what, count in notes.items() if count)
    sys.stdout.write(f"{out}: {_many(report.entities)}{f' ({shown})' if shown else ''}\n")


def report_list(folder: Path, entities: Iterable[Passage], *, as_json: bool) -> None:
    """A line for each entity, on stdout: id, name and description, between tabs."""
    count = 0
    for entity in entities:
        count += 1
        name, description = entity_name(entity), entity.text if entity.title else ""
        if as_json:
            _write_json(
                {
                    "id": entity.id,
                    "name": name,
                    "description": description or None,
                    "metadata": entity.metadata,
                }
            )
        else:
            cells = (" ".join(cell.split()) for cell in (entity.id, name, description))
            sys.stdout.write(printable("\t".join(cells).rstrip("\t")) + "\n")
    if not as_json:
        sys.stdout.write(f"{folder}: {_many(count)}\n")


def report_removal(out: Path, count: int, *, as_json: bool) -> None:
    """How many were removed, on stdout."""
    if as_json:
        _write_json({"index": str(out), "removed": count})
    else:
        sys.stdout.write(f"{out}: {_many(count)} removed\n")


def _many(count: int) -> str:
    return f"{count:,} {'entity' if count == 1 else 'entities'}"


def _write_json(plain: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(plain, ensure_ascii=False) + "\n")
