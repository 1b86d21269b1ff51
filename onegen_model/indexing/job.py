"""Brings passages into one index and saves it as it grows.

The work can be stopped and repeated: what is finished is kept, and the same call continues.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onegen_model.events import Passage
from onegen_model.indexing.held import source_in
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.reading import Reading
from onegen_model.indexing.reports import IndexReport
from onegen_model.places import place_of
from onegen_model.progress import ShouldStop, show_progress
from onegen_model.retrieval.index import PassageIndex

# A save takes no more than this share of the time.
_WORK_PER_SAVE = 20


@dataclass(frozen=True, slots=True)
class IndexingJob:
    """Grows one index and saves it in one folder."""

    index: PassageIndex
    out: Path
    options: IndexingOptions = field(default_factory=IndexingOptions)
    should_stop: ShouldStop | None = None

    def grow(self, reading: Reading, *, progress: bool | None = False) -> IndexReport:
        """Embed and save new content, then remove what the files no longer hold.

        After a stop or an error the passages done so far are saved. A passage gets the digest of
        its file only when all of the file is in the index, so that the rest is not forgotten.
        """
        passages = reading.passages
        self.index.save(self.out)
        reuse = self.index.reuse(map(unsealed, passages))
        pending, embedded = reuse.pending, 0
        saves = _Saves(self, passages)
        try:
            with show_progress(len(pending), "Indexing", "passage", progress) as shown:
                while embedded < len(pending) and not (self.should_stop and self.should_stop()):
                    some = pending[embedded : embedded + self.options.batch]
                    self.index.add(some)
                    embedded += len(some)
                    shown.update(len(some))
                    saves.save_when_due(pending[embedded:])
        except Exception:
            saves.save(pending[embedded:])
            raise
        rest = pending[embedded:]
        removed = 0 if rest else _remove_stale(self.index, reading)
        saves.save(rest)
        done = len(passages) - len(rest)
        return IndexReport(len(self.index), done, len(passages), embedded, reuse.reused, removed)


def unsealed(passage: Passage) -> Passage:
    """The passage without the digest of its file, so that the next sync reads the file again."""
    place = place_of(passage)
    if place is None or not place.digest:
        return passage
    plain = replace(place, digest="").to_metadata()
    return replace(passage, metadata={**passage.metadata, **plain})


def _remove_stale(index: PassageIndex, reading: Reading) -> int:
    if not reading.sources:
        return 0
    current = {passage.id for passage in reading.passages}
    return index.delete(
        passage.id
        for passage in index.passages
        if passage.id not in current
        and (place := place_of(passage)) is not None
        and source_in(place, reading.root) in reading.sources
    )


class _Saves:
    """Saves at intervals; the longer a save takes, the longer the interval."""

    def __init__(self, job: IndexingJob, passages: Sequence[Passage]) -> None:
        self._job = job
        self._passages = passages
        self._pause = job.options.save_every
        self._due = time.monotonic() + self._pause

    def save_when_due(self, rest: Iterable[Passage]) -> None:
        """`rest` is not in the index yet."""
        if time.monotonic() < self._due:
            return
        started = time.monotonic()
        self.save(rest)
        ended = time.monotonic()
        pause = max(self._pause, _WORK_PER_SAVE * (ended - started)) if self._pause else 0.0
        self._due = ended + pause

    def save(self, rest: Iterable[Passage]) -> None:
        unfinished = {place.source for place in map(place_of, rest) if place}
        self._job.index.add(
            passage
            for passage in self._passages
            if (place := place_of(passage)) and place.digest and place.source not in unfinished
        )
        self._job.index.save(self._job.out)
