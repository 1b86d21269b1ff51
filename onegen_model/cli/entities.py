"""`onegen entities`: builds an index of entities, adds to it, lists it and removes from it."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.entities_reports import (
    report_bad,
    report_estimate,
    report_import,
    report_index,
    report_list,
    report_published,
    report_removal,
    report_skipped,
)
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.errors import InvalidInputError
from onegen_model.indexing.entities import EntityOptions, index_entities
from onegen_model.indexing.entity_import import import_entities, require_new
from onegen_model.indexing.entity_records import EntityRecords, read_entities
from onegen_model.indexing.entity_upkeep import list_entities, remove_entities
from onegen_model.indexing.published_vectors import read_published
from onegen_model.retrieval.folders import hold_for_writing

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel

_IMPORT = "import"  # a file of this name is ./import


def run_entities(options: Namespace, load_model: "LoadModel") -> int:
    is_import = options.paths[:1] == [_IMPORT]
    _require_one_task(options, is_import)
    if options.list is not None:
        folder = Path(options.list) if options.list else _out(options)
        report_list(folder, list_entities(folder), as_json=options.json)
        return 0
    out = _out(options)
    if options.remove or options.remove_listed:
        ids = [*(options.remove or ()), *_listed(options.remove_listed)]
        report_removal(out, remove_entities(out, ids), as_json=options.json)
        return 0
    return (_import if is_import else _index)(options, load_model, out)


def _require_one_task(options: Namespace, is_import: bool) -> None:
    removes = options.remove or options.remove_listed
    tasks = {
        "FILE": bool(options.paths),
        "--list": options.list is not None,
        "--remove": bool(removes),
    }
    chosen = [name for name, is_chosen in tasks.items() if is_chosen]
    if len(chosen) != 1 or (options.paths and len(options.paths) != 1 + is_import):
        given = " and ".join(chosen) or "Nothing"
        if chosen == ["FILE"]:
            given = f"{len(options.paths) - is_import} files"
        raise InvalidInputError(
            f"{given} given to `onegen entities{' import' if is_import else ''}`; expected one "
            "file, or --list or --remove; see `onegen entities --help`"
        )
    flags = {
        "--entities": options.entities is not None and not is_import,
        "--store-as": options.store_as is not None and not is_import,
        "--skip-bad": options.skip_bad and (is_import or not options.paths),
    }
    if misplaced := [flag for flag, is_misplaced in flags.items() if is_misplaced]:
        task = "a file of entities" if misplaced[0] == "--skip-bad" else "`onegen entities import`"
        raise InvalidInputError(
            f"{misplaced[0]} is given without {task}; expected it there only; leave it out"
        )


def _out(options: Namespace) -> Path:
    if not options.out:
        raise InvalidInputError("There is no --out; expected the folder of an index; add --out DIR")
    return Path(options.out)


def _listed(file: str | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeError as error:
        raise InvalidInputError(
            f"{file} is not UTF-8 ({error}); expected ids, one a line; convert it first"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _index(options: Namespace, load_model: "LoadModel", out: Path) -> int:
    indexing = EntityOptions(
        batch=options.batch,
        skip_bad=options.skip_bad,
        on_estimate=lambda estimate: report_estimate(estimate, as_json=options.json),
    )
    # Read, and the folder held, before the model is loaded, which takes seconds.
    records = read_entities(options.paths[0])
    if not options.skip_bad:
        _require_sound(records, "go on without them with --skip-bad")
    with hold_for_writing(out):
        model = load_model(options.model, options.dtype)
        with Interrupts() as interrupts:
            report = index_entities(
                model,
                records,
                out,
                options=indexing,
                progress=None,
                should_stop=lambda: interrupts.requested,
            )
    if not report.is_whole:
        sys.stderr.write(
            f"onegen: stopped; {report.done} of {report.given} entities are in {out}; run the same "
            "command again to continue\n"
        )
        return INTERRUPTED
    report_index(out, report, as_json=options.json)
    return report_skipped(report.problems)


def _require_sound(records: EntityRecords, or_else: str) -> None:
    """Raise InvalidInputError; an error is one line, so several records are named before it."""
    count = len(records.problems)
    if count > 1:
        report_bad(records.problems)
        raise InvalidInputError(
            f"{count} records cannot be used; expected an id of its own and a name in each; "
            f"correct them, or {or_else}"
        )
    records.require_sound()


def _import(options: Namespace, load_model: "LoadModel", out: Path) -> int:
    stored_as = options.store_as or "float32"
    require_new(out, stored_as)
    named = None
    if options.entities is not None:
        named = read_entities(options.entities)
        _require_sound(named, "leave them out")
    # Read before the model is loaded: the bytes of the file and the tensor need room for a moment.
    published = read_published(Path(options.paths[1]))
    report_published(published, stored_as, as_json=options.json)
    model = load_model(options.model, options.dtype)
    report = import_entities(model, published, out, entities=named, stored_as=stored_as)
    report_import(out, report, as_json=options.json)
    return 0
