"""`onegen index`: documents into an index, a little at a time."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.retrieval.corpus import is_embedded
from onegen_model.retrieval.documents import Document, find_files, read_file, split, warn_of_skipped
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.index_files import is_index

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel

# Each save writes the whole index: let it take no more than a twentieth of the time.
_MIN_SECONDS_BETWEEN_SAVES, _WORK_PER_SAVE = 30.0, 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Passages of all files, checked and split before the first one is embedded."""

    passages: list[Passage] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of an index; `is_whole` unless Ctrl-C stopped it after `done` passages."""

    done: int
    embedded: int
    removed: int
    is_whole: bool


def run_index(options: Namespace, load_model: "LoadModel") -> int:
    if options.batch < 1:
        raise InvalidInputError(f"batch={options.batch}; expected at least 1; change --batch")
    found = find_files(options.paths)
    warn_of_skipped(found)
    model = load_model(options.model, options.dtype)
    out = Path(options.out)
    index = open_or_create(model, out)
    reading = read_passages(model, found.files)
    if not reading.passages:
        raise InvalidInputError(
            "All documents are empty; expected some text; choose other files or folders"
        )
    _require_own_ids(index, reading, out)
    growth = grow(index, out, reading, options.batch)
    if not growth.is_whole:
        sys.stderr.write(
            f"onegen: stopped; {growth.done} of {len(reading.passages)} passages are in {out}; "
            "run the same command again to go on\n"
        )
        return INTERRUPTED
    _report(index, out, growth, as_json=options.json)
    return 0


def open_or_create(model: "OneGenModel", out: Path) -> PassageIndex:
    """Saves at once where nothing is yet: a bad path must not cost an hour of embedding."""
    if is_embedded(out):
        raise InvalidInputError(
            f"{out} is an embedded corpus; expected an index, new or existing; run `onegen embed` "
            "to change the corpus, or choose another --out"
        )
    if is_index(out):
        return PassageIndex.load(model, out)
    index = PassageIndex(model)
    index.save(out)
    return index


def read_passages(model: "OneGenModel", files: Sequence[Path], *, progress: bool = True) -> Reading:
    reading = Reading()
    places: dict[str, str] = {}
    hidden = None if progress else True  # None: in a terminal only
    for file in tqdm(files, desc="Reading", unit="file", disable=hidden, leave=False):
        reading.sources.add(str(file.resolve()))
        for document in read_file(file):
            _require_new_id(document, places)
            reading.passages.extend(split(document, model.count_tokens, model.max_passage_tokens))
    return reading


def _require_new_id(document: Document, places: dict[str, str]) -> None:
    earlier = places.setdefault(document.id, document.place)
    if earlier != document.place:
        raise InvalidInputError(
            f"{document.place} has the same id {document.id!r} as {earlier}; expected one of "
            "each; rename one"
        )


def _require_own_ids(index: PassageIndex, reading: Reading, out: Path) -> None:
    """An id that two different files use would quietly replace the one by the other."""
    known = {passage.id: passage for passage in index.passages}
    for passage in reading.passages:
        other = known.get(passage.id, passage)
        source = other.metadata.get("source")
        if other.text != passage.text and source not in reading.sources:
            raise InvalidInputError(
                f"{out} already holds another passage with the id {passage.id!r}, from {source}; "
                "expected ids of its own for each file; run from a folder above both files, give "
                "the records other ids, or choose another --out"
            )


def grow(index: PassageIndex, out: Path, reading: Reading, batch: int) -> Growth:
    """Embed and save what is new, then remove what the files read no longer hold.

    Whatever ends it early, the passages done so far are saved.
    """
    done = embedded = removed = 0
    saves = _Saves(index, out)
    bar = tqdm(total=len(reading.passages), desc="Indexing", unit="passage", disable=None)
    with bar, Interrupts() as interrupts:
        try:
            for start in range(0, len(reading.passages), batch):
                if interrupts.requested:
                    break
                some = reading.passages[start : start + batch]
                embedded += index.add(some)
                done += len(some)
                bar.update(len(some))
                saves.save_when_due()
            is_whole = done == len(reading.passages)
            if is_whole:
                removed = _remove_stale(index, reading)
        except Exception:
            index.save(out)
            raise
        index.save(out)
    return Growth(done, embedded, removed, is_whole)


def _remove_stale(index: PassageIndex, reading: Reading) -> int:
    current = {passage.id for passage in reading.passages}
    return index.delete(
        passage.id
        for passage in index.passages
        if passage.id not in current and passage.metadata.get("source") in reading.sources
    )


class _Saves:
    """Saves now and then: the longer a save takes, the more rarely."""

    def __init__(self, index: PassageIndex, out: Path) -> None:
        self._index = index
        self._out = out
        self._due = time.monotonic() + _MIN_SECONDS_BETWEEN_SAVES

    def save_when_due(self) -> None:
        if time.monotonic() < self._due:
            return
        started = time.monotonic()
        self._index.save(self._out)
        ended = time.monotonic()
        self._due = ended + max(_MIN_SECONDS_BETWEEN_SAVES, _WORK_PER_SAVE * (ended - started))


def _report(index: PassageIndex, out: Path, growth: Growth, *, as_json: bool) -> None:
    numbers = {
        "passages": len(index),
        "embedded": growth.embedded,
        "unchanged": growth.done - growth.embedded,
        "removed": growth.removed,
    }
    if as_json:
        sys.stdout.write(json.dumps({"index": str(out), **numbers}, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(
        f"{out}: {numbers['passages']} passages ({numbers['embedded']} embedded now, "
        f"{numbers['unchanged']} unchanged, {numbers['removed']} removed)\n"
    )
