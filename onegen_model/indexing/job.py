"""Whole jobs: documents into an index, and passages into an embedded corpus.

Both can be stopped and repeated: finished work is kept, and the same call continues.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from onegen_model.documents.document import Document
from onegen_model.documents.finding import FoundFiles, find_files, warn_of_skipped
from onegen_model.documents.reading import read_file, source_of
from onegen_model.documents.splitting import PassageSplitter
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.places import place_of
from onegen_model.progress import ShouldStop, is_hidden
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.index import Embedder, PassageIndex
from onegen_model.retrieval.manifest import is_ours

# A save takes no more than this share of the time.
_WORK_PER_SAVE = 20


class DocumentModel(Embedder, Protocol):
    """The part of a model that splits and embeds documents."""

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, as `max_passage_tokens` counts them."""
        ...


@dataclass(frozen=True, slots=True)
class IndexingOptions:
    """`batch` passages are embedded per step; saves are at least `save_every` seconds apart, and
    take at most a twentieth of the time, unless it is 0: then every step is saved.
    """

    batch: int = 32
    save_every: float = 30.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidInputError(f"batch={self.batch}; expected at least 1; change batch")


@dataclass(frozen=True, slots=True)
class Reading:
    """Passages of all files, checked and split before the first one is embedded."""

    root: Path
    passages: list[Passage] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index holds `passages` passages after `done` of `total` given ones were processed.

    It is whole unless it was stopped.
    """

    passages: int
    done: int
    total: int
    embedded: int
    removed: int

    @property
    def is_whole(self) -> bool:
        """Whether all passages are in the index."""
        return self.done == self.total


def grow_index(
    model: DocumentModel,
    paths: FoundFiles | Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    options: IndexingOptions | None = None,
    progress: bool | None = False,
    should_stop: ShouldStop | None = None,
) -> IndexReport:
    """Read documents into an index, new or existing, and save it.

    New and changed passages are embedded; those that the files no longer hold are removed. The
    folder is locked during the call. All files are read before anything is embedded; when embedding
    fails, the finished part is saved. `progress` None: bars in a terminal only. Raises
    InvalidInputError for files, and PassageIndexError for a folder, that cannot be used.
    """
    found = paths if isinstance(paths, FoundFiles) else find_files(paths)
    warn_of_skipped(found)
    folder = Path(out)
    with hold_for_writing(folder):
        index = open_or_create(model, folder)
        reading = read_passages(model, found.files, root_of(folder), progress=progress)
        require_some(reading)
        _require_own_ids(index, reading, folder)
        job = IndexingJob(index, folder, options or IndexingOptions(), should_stop)
        return job.grow(reading, progress=progress)


def open_or_create(model: Embedder, out: Path) -> PassageIndex:
    """The index in a folder, or an empty one where there is none; raises PassageIndexError."""
    # Also loaded with a damaged manifest, which is an error: a save would drop the old passages.
    return PassageIndex.load(model, out) if is_ours(out) else PassageIndex(model)


def read_passages(
    model: DocumentModel, files: Sequence[Path], root: Path, *, progress: bool | None = False
) -> Reading:
    """Raises InvalidInputError for a file that cannot be read, or two documents of one id."""
    reading, splitter = Reading(root), PassageSplitter.for_model(model)
    places: dict[str, str] = {}
    hidden = is_hidden(progress)
    for file in tqdm(files, desc="Reading", unit="file", disable=hidden, leave=False):
        reading.sources.add(source_of(file, root))
        for document in read_file(file, root):
            _require_new_id(document, places)
            reading.passages.extend(splitter.split(document))
    return reading


def root_of(folder: Path) -> Path:
    """What the sources in an index are relative to: the folder that the index lies in."""
    return folder.resolve().parent


def _source(passage: Passage, root: Path) -> str | None:
    place = place_of(passage)
    if place is None:
        return None
    path = Path(place.source)
    return source_of(path, root) if path.is_absolute() else place.source


def require_some(reading: Reading) -> None:
    """Raise InvalidInputError without passages."""
    if not reading.passages:
        raise InvalidInputError(
            "All documents are empty; expected some text; choose other files or folders"
        )


def _require_new_id(document: Document, places: dict[str, str]) -> None:
    earlier = places.setdefault(document.id, document.place)
    if earlier != document.place:
        raise InvalidInputError(
            f"{document.place} has the same id {document.id!r} as {earlier}; expected one of "
            "each; rename one"
        )


def _require_own_ids(index: PassageIndex, reading: Reading, out: Path) -> None:
    """An id that two different files use would quietly replace one passage by the other."""
    known = {passage.id: passage for passage in index.passages}
    for passage in reading.passages:
        other = known.get(passage.id, passage)
        source = _source(other, reading.root)
        if other.text != passage.text and source not in reading.sources:
            raise InvalidInputError(
                f"{out} already holds another passage with the id {passage.id!r}, from {source}; "
                "expected ids of its own for each file; run from a folder above both files, give "
                "the records other ids, or choose another --out"
            )


@dataclass(frozen=True, slots=True)
class IndexingJob:
    """Grows one index and saves it in one folder."""

    index: PassageIndex
    out: Path
    options: IndexingOptions = IndexingOptions()
    should_stop: ShouldStop | None = None

    def grow(self, reading: Reading, *, progress: bool | None = False) -> IndexReport:
        """Embed and save new passages, then remove those that the files no longer hold.

        After a stop or an error the passages done so far are saved.
        """
        passages, batch = reading.passages, self.options.batch
        done = embedded = removed = 0
        self.index.save(self.out)
        saves = _Saves(self.index, self.out, self.options.save_every)
        bar = tqdm(
            total=len(passages), desc="Indexing", unit="passage", disable=is_hidden(progress)
        )
        try:
            with bar:
                while done < len(passages) and not (self.should_stop and self.should_stop()):
                    some = passages[done : done + batch]
                    embedded += self.index.add(some)
                    done += len(some)
                    bar.update(len(some))
                    saves.save_when_due()
            if done == len(passages):
                removed = _remove_stale(self.index, reading)
        except Exception:
            self.index.save(self.out)
            raise
        self.index.save(self.out)
        return IndexReport(len(self.index), done, len(passages), embedded, removed)


def _remove_stale(index: PassageIndex, reading: Reading) -> int:
    current = {passage.id for passage in reading.passages}
    return index.delete(
        passage.id
        for passage in index.passages
        if passage.id not in current and _source(passage, reading.root) in reading.sources
    )


class _Saves:
    """Saves at intervals; the longer a save takes, the longer the interval."""

    def __init__(self, index: PassageIndex, out: Path, pause: float) -> None:
        self._index = index
        self._out = out
        self._pause = pause
        self._due = time.monotonic() + pause

    def save_when_due(self) -> None:
        if time.monotonic() < self._due:
            return
        started = time.monotonic()
        self._index.save(self._out)
        ended = time.monotonic()
        rest = max(self._pause, _WORK_PER_SAVE * (ended - started)) if self._pause else 0.0
        self._due = ended + rest
