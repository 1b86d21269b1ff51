"""Keeps an index in step with files."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from onegen_model.documents.finding import FoundFiles, warn_of_skipped
from onegen_model.documents.reading import source_of
from onegen_model.errors import InvalidInputError
from onegen_model.indexing.estimate import estimate
from onegen_model.indexing.held import HeldFile, is_below, is_gone, root_of, source_in
from onegen_model.indexing.job import IndexingJob
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.reading import (
    DocumentModel,
    PassageReader,
    Reading,
    read_changed,
    require_readable,
    require_some,
)
from onegen_model.indexing.reports import FileCounts, IndexReport
from onegen_model.indexing.scan import Scan
from onegen_model.indexing.selection import Selection, select_files
from onegen_model.indexing.survey import Survey, survey_files
from onegen_model.places import place_of
from onegen_model.progress import ShouldStop
from onegen_model.retrieval.embedding import Embedder
from onegen_model.retrieval.folders import hold_for_writing, require_free_or_ours
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.manifest import is_ours

logger = logging.getLogger(__name__)

Paths = Selection | Iterable[str | PathLike[str]]


def grow_index(
    model: DocumentModel,
    paths: Paths,
    out: str | PathLike[str],
    *,
    options: IndexingOptions | None = None,
    progress: bool | None = False,
    should_stop: ShouldStop | None = None,
) -> IndexReport:
    """Bring files and folders into an index, new or existing, keep it in step, and save it.

    Files whose content the index holds already are not read. Of the others only passages of new
    content are embedded, also in a file that was moved. What the files no longer hold is removed,
    and so is what came from files that are gone below the given folders. The folder of the index is
    locked meanwhile. All files are read before anything is embedded; when embedding fails, the
    finished part is saved. `progress` None: bars in a terminal, and lines without one. Raises
    InvalidInputError for files, and PassageIndexError for a folder, that cannot be used.
    """
    options = options or IndexingOptions()
    selection = _select(paths, options)
    folder = Path(out)
    with hold_for_writing(folder), PassageReader(model, options.reading) as reader:
        sync = _Sync(model, selection, folder, options, reader, open_or_create(model, folder))
        survey = sync.survey()
        if options.on_scan is not None:
            options.on_scan(estimate(model, reader, selection, survey, folder))
        reading = sync.read(survey, progress=progress, should_stop=should_stop)
        if reading.unread:
            kept = survey.kept_passages
            return IndexReport(len(sync.index), kept, kept, unread=reading.unread)
        survey = _with_recognised(survey, reading)
        reading.sources.update(survey.gone)
        job = IndexingJob(sync.index, folder, options, should_stop)
        grown = IndexReport(len(sync.index), 0, 0)
        if reading.passages or reading.sources & survey.held.keys():
            grown = job.grow(reading, progress=progress)  # An index that is in step is not written.
        return sync.report(survey, reading, grown)


def scan_files(
    model: DocumentModel,
    paths: Paths,
    out: str | PathLike[str],
    *,
    options: IndexingOptions | None = None,
) -> Scan:
    """What `grow_index` would do; nothing is written."""
    options, folder = options or IndexingOptions(), Path(out)
    selection = _select(paths, options)
    require_free_or_ours(folder)
    with PassageReader(model, options.reading) as reader:
        sync = _Sync(model, selection, folder, options, reader, open_or_create(model, folder))
        return estimate(model, reader, selection, sync.survey(), folder)


def open_or_create(model: Embedder, out: Path) -> PassageIndex:
    """The index in a folder, or an empty one where there is none; raises PassageIndexError."""
    # Also loaded with a damaged manifest, which is an error: a save would drop the old passages.
    return PassageIndex.load(model, out) if is_ours(out) else PassageIndex(model)


def _select(paths: Paths, options: IndexingOptions) -> Selection:
    selection = paths if isinstance(paths, Selection) else select_files(paths, options.reading)
    warn_of_skipped(FoundFiles(selection.files, selection.skipped))
    return selection


@dataclass(frozen=True, slots=True)
class _Sync:
    model: DocumentModel
    selection: Selection
    folder: Path
    options: IndexingOptions
    reader: PassageReader
    index: PassageIndex

    def survey(self) -> Survey:
        root, longest = root_of(self.folder), self.model.max_passage_tokens
        return survey_files(self.index.passages, self.selection, root, longest, self.options)

    def read(
        self, survey: Survey, *, progress: bool | None, should_stop: ShouldStop | None
    ) -> Reading:
        """The new and changed files; nothing has been written when this raises an error."""
        reading = read_changed(
            self.reader, survey.changed, survey.root, progress=progress, should_stop=should_stop
        )
        if reading.unread:
            return reading
        reading.failures[:0] = survey.failures
        if not self.options.skip_bad:
            require_readable(reading.failures)
        for failure in reading.failures:
            folder = [Path(survey.root / source_of(failure.path, survey.root))]
            if any(is_below(source, survey.root, folder) for source in survey.held):
                logger.warning("%s; what the index holds of it stays", failure)
        if not survey.held and not reading.passages:  # An empty index would be left.
            require_readable(reading.failures)
            require_some(reading)
        _require_own_ids(self.index, reading, survey, self.folder)
        return reading

    def report(self, survey: Survey, reading: Reading, grown: IndexReport) -> IndexReport:
        kept = survey.kept_passages
        return replace(
            grown,
            done=grown.done + kept,
            total=grown.total + kept,
            files=_count_files(survey, reading),
            failures=tuple(reading.failures),
        )


def _count_files(survey: Survey, reading: Reading) -> FileCounts:
    read = {place.source for place in map(place_of, reading.passages) if place}
    emptied = {source for source in survey.changed if source in reading.sources} - read
    moved = len(survey.moved)
    return FileCounts(
        added=max(0, len(read - survey.held.keys()) - moved),
        changed=len(read & survey.held.keys()),
        moved=moved,
        removed=len(survey.gone - survey.moved) + len(emptied & survey.held.keys()),
        unchanged=len(survey.unchanged),
    )


def _with_recognised(survey: Survey, reading: Reading) -> Survey:
    """Adds the files of an index without digests, as release 0.1 wrote it, that were moved: all of
    their content is in new files.
    """
    found = {(passage.title, passage.text) for passage in reading.passages}

    def is_moved(held: HeldFile) -> bool:
        return (
            not any(place.digest for place in map(place_of, held.passages) if place)
            and all((passage.title, passage.text) in found for passage in held.passages)
            and is_gone(held.source, survey.root)
        )

    old = (held for source, held in survey.held.items() if source not in survey.changed)
    moved = {held.source for held in old if held.source not in survey.unchanged and is_moved(held)}
    return replace(survey, gone=survey.gone | moved, moved=survey.moved | moved)


def _require_own_ids(index: PassageIndex, reading: Reading, survey: Survey, out: Path) -> None:
    """An id that two different files use would quietly replace one passage by the other."""
    known = {passage.id: passage for passage in index.passages}
    given = reading.sources | survey.gone
    for passage in reading.passages:
        if (other := known.get(passage.id)) is None:
            continue
        place = place_of(other)
        source = None if place is None else source_in(place, reading.root)
        if source in given:
            continue
        # Two files that exist would take a passage of the same text from each other for ever.
        is_free = source is None or is_gone(source, reading.root)
        if other.text != passage.text or not is_free:
            raise InvalidInputError(
                f"{out} already holds another passage with the id {passage.id!r}, from "
                f"{source or 'no file'}; expected ids of its own for each file; run from a folder "
                "above both files, give the records other ids, or choose another --out"
            )
