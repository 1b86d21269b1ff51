"""Compares the selected files with what an index holds, by content; nothing is converted.

Times of files play no part, because clocks and copies change them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onegen_model.documents.digests import digest_of
from onegen_model.documents.failures import FailedFile, UnreadableFilesError
from onegen_model.documents.options import ReadingOptions
from onegen_model.documents.reading import source_of
from onegen_model.documents.splitting import splitting_digest
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.indexing.held import HeldFile, held_files, is_below, is_gone
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.selection import Selection


@dataclass(frozen=True, slots=True)
class Survey:
    """What a sync will do, by source: `changed` files are new, or have other content than the index
    holds; `gone` ones leave the index, and `moved` are those of them whose content is elsewhere.
    """

    root: Path
    held: Mapping[str, HeldFile]
    changed: Mapping[str, Path]
    unchanged: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    failures: tuple[FailedFile, ...] = ()

    @property
    def kept_passages(self) -> int:
        """The passages of unchanged files."""
        return sum(len(self.held[source].passages) for source in self.unchanged)


def survey_files(
    passages: Iterable[Passage],
    selection: Selection,
    root: Path,
    max_tokens: int,
    options: IndexingOptions,
) -> Survey:
    """Raises InvalidInputError for a folder that is empty now, unless `options.prune`."""
    held = held_files(passages, root)
    sources, doubles = _sources(selection.files, root)
    digests, unreadable = _digests(sources, max_tokens, options.reading)
    failures = (*selection.failures, *doubles, *unreadable)
    unchanged = frozenset(
        source for source, digest in digests.items() if _holds(held, source, digest)
    )
    changed = {source: sources[source] for source in digests if source not in unchanged}
    missing = _missing(held, sources, failures, root)
    moved = _moved(held, missing, {source: digests[source] for source in changed})
    gone = {source for source in missing if is_below(source, root, selection.folders)}
    _require_files(selection, missing, root, options)
    if options.prune:
        gone = missing
    if options.keep_missing:
        gone = set()
    return Survey(root, held, changed, unchanged, frozenset(gone | moved), moved, failures)


def _sources(files: Iterable[Path], root: Path) -> tuple[dict[str, Path], list[FailedFile]]:
    """Files by their sources; one whose name cannot be told from that of another is a failure."""
    sources: dict[str, Path] = {}
    doubles: list[FailedFile] = []
    for file in files:
        source = source_of(file, root)
        if sources.setdefault(source, file) is not file:
            doubles.append(FailedFile(file, "another file has the same name as UTF-8; rename it"))
    return sources, doubles


def _digests(
    sources: Mapping[str, Path], max_tokens: int, options: ReadingOptions | None
) -> tuple[dict[str, str], list[FailedFile]]:
    digests: dict[str, str] = {}
    failures: list[FailedFile] = []
    for source, file in sources.items():
        try:
            digests[source] = splitting_digest(digest_of(file, options), max_tokens)
        except UnreadableFilesError as error:
            failures += error.failures
    return digests, failures


def _holds(held: Mapping[str, HeldFile], source: str, digest: str) -> bool:
    return source in held and held[source].digest == digest


def _missing(
    held: Mapping[str, HeldFile],
    selected: Mapping[str, Path],
    failures: Iterable[FailedFile],
    root: Path,
) -> set[str]:
    """The files of the index that do not exist, or that links have given another name; not if they
    could not be looked for.
    """
    closed = [Path(root / source_of(failure.path, root)) for failure in failures]
    read = set(map(os.path.realpath, selected.values()))
    return {
        source
        for source in held
        if source not in selected
        and (is_gone(source, root) or os.path.realpath(root / source) in read)
        and not is_below(source, root, closed)
    }


def _moved(
    held: Mapping[str, HeldFile], missing: Iterable[str], new: Mapping[str, str]
) -> frozenset[str]:
    """The missing files of which each has another new file of the same content."""
    by_digest: dict[str, list[str]] = {}
    for source in sorted(missing):
        if held[source].digest:
            by_digest.setdefault(held[source].digest, []).append(source)
    moved = set()
    for source, digest in new.items():
        if source not in held and by_digest.get(digest):
            moved.add(by_digest[digest].pop())
    return frozenset(moved)


def _require_files(
    selection: Selection, missing: Iterable[str], root: Path, options: IndexingOptions
) -> None:
    """A folder that is suddenly empty is more often a disk that is not there than a decision."""
    for folder, error in selection.empty:
        lost = sum(is_below(source, root, [folder.resolve()]) for source in missing)
        if not lost:
            if not options.prune:
                raise error
        elif not options.prune and not options.keep_missing:
            raise InvalidInputError(
                f"The folder {folder} holds no documents any more, and the index has {lost} of its "
                "files; expected some of them; make sure that its disk is there, or prune the "
                "index to remove them (--prune)"
            )
