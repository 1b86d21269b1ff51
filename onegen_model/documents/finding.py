"""Finds the files to read."""

import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onegen_model.documents.failures import FailedFile, UnreadableFilesError, shown
from onegen_model.documents.ignoring import Rules
from onegen_model.documents.kinds import EXPECTED, kind_of
from onegen_model.documents.options import ReadingOptions
from onegen_model.errors import InvalidInputError
from onegen_model.retrieval.manifest import is_ours

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """Files to read, each once, by the path that names it.

    `skipped` are the files inside folders that are binary and of no known kind, and links to
    folders, which are not followed; `failures` are folders, and files, that cannot be looked into.
    `roots` are the folders that sources are relative to unless a root is given, one for each file.
    """

    files: tuple[Path, ...]
    skipped: tuple[Path, ...] = ()
    failures: tuple[FailedFile, ...] = ()
    roots: tuple[Path, ...] = ()


def find_files(
    paths: Iterable[str | os.PathLike[str]], options: ReadingOptions | None = None
) -> FoundFiles:
    """Folders are searched to the bottom, without indexes and what `options` passes over.

    Raises InvalidInputError for a path that is missing, of unknown kind, or a folder without
    documents.
    """
    found = _Found()
    for path in _paths(paths):
        if _is_folder(path):
            _search(path, options or ReadingOptions(), found)
        else:
            found.add(_require_known(path), path.parent)
    files, roots = [*found.files.values()], [*found.roots.values()]
    return FoundFiles(tuple(files), tuple(found.skipped), tuple(found.failures), tuple(roots))


def warn_of_skipped(found: FoundFiles) -> None:
    """Log how many files were skipped, by their suffix."""
    if not found.skipped:
        return
    kinds = Counter(_kind_name(path) for path in found.skipped)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8))
    rest = len(kinds) - 8
    count = len(found.skipped)
    logger.warning(
        "%d %s of unknown kind %s skipped (%s%s; the first: %s); expected %s",
        count,
        "file" if count == 1 else "files",
        "was" if count == 1 else "were",
        counted,
        f" and {rest} kinds more" if rest > 0 else "",
        shown(found.skipped[0]),
        EXPECTED,
    )


def _kind_name(path: Path) -> str:
    if path.is_symlink() and path.is_dir():
        return "links to folders"
    return shown(path.suffix.lower()) or "without a suffix"


@dataclass(slots=True)
class _Found:
    """What is found so far; a file by its real path."""

    files: dict[str, Path] = field(default_factory=dict)
    roots: dict[str, Path] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    failures: list[FailedFile] = field(default_factory=list)

    def add(self, path: Path, root: Path) -> None:
        real = os.path.realpath(path)
        self.files.setdefault(real, path)
        self.roots.setdefault(real, root)


def _paths(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    try:
        return [_named(path) for path in paths]
    except TypeError as error:
        raise InvalidInputError(
            f"The paths are {paths!r}; expected paths of files and folders; give a list of them"
        ) from error


def _named(path: str | os.PathLike[str]) -> Path:
    if not os.fspath(path):  # Path("") is the working directory.
        raise InvalidInputError(
            "The name of a file or folder is empty; expected a path; write . for this folder"
        )
    return Path(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # A folder around it may not be entered.
        return False


def _search(folder: Path, options: ReadingOptions, found: _Found) -> None:
    if _is_index(folder):
        raise InvalidInputError(
            f"{shown(folder)} is an index; expected documents; name the folder of the documents"
        )
    root, skipped_before = folder.resolve().parent, len(found.skipped)
    failed_before, count = len(found.failures), 0
    for path in _walk(folder, options, found):
        if _add(path, root, found):
            count += 1
    failures = found.failures[failed_before:]
    if count:
        return
    if failures:
        raise UnreadableFilesError(failures)
    skipped = len(found.skipped) - skipped_before
    others = f" ({skipped} files of other kinds)" if skipped else ""
    raise InvalidInputError(
        f"The folder {shown(folder)} holds no documents{others}; expected files of {EXPECTED} that "
        "no pattern or ignore file leaves out; choose another folder, or change the options"
    )


def _add(path: Path, root: Path, found: _Found) -> bool:
    """Whether the file is one to read, or to report."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            found.skipped.append(path)  # A pipe or a device would be read for ever.
            return False
        known = kind_of(path) is not None
    except OSError as error:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        reason = "it is a link to a file that is missing" if broken else reason_of(error)
        found.failures.append(FailedFile(path, reason))
        return False
    if known:
        found.add(path, root)
    else:
        found.skipped.append(path)
    return known


def reason_of(error: OSError) -> str:
    """The reason of a failure, without the path."""
    return f"it cannot be read ({error.strerror or error})"


def _walk(folder: Path, options: ReadingOptions, found: _Found) -> Iterator[Path]:
    # The rules look at the folders around a name, so they need its absolute path.
    absolute = Path(os.path.realpath(folder))
    rules = Rules.of(absolute, options)

    waiting = [folder]
    while waiting:  # os.walk of Python 3.11 fails in folders that are nested deeply.
        here = waiting.pop()
        inside = absolute / here.relative_to(folder)
        try:
            names, folders = _entries(here)
        except OSError as error:
            found.failures.append(FailedFile(here, reason_of(error)))
            continue
        wanted = [
            here / name
            for name in folders
            if rules.allow_folder(inside / name) and not _is_index(here / name)
        ]
        found.skipped.extend(path for path in wanted if path.is_symlink())
        yield from (here / name for name in names if rules.allow_file(inside / name))
        waiting.extend(path for path in reversed(wanted) if not path.is_symlink())


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """The names of files, and of folders and links to folders, sorted."""
    names: dict[bool, list[str]] = {False: [], True: []}
    with os.scandir(folder) as entries:
        for entry in entries:
            names[_leads_to_folder(entry)].append(entry.name)
    return sorted(names[False]), sorted(names[True])


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _is_index(folder: Path) -> bool:
    try:
        return is_ours(folder)
    except OSError:  # It may not be entered; the search reports it.
        return False


def _require_known(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
        known = stat.S_ISREG(mode) and kind_of(path) is not None
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InvalidInputError(
            f"There is no file or folder {shown(path)}; expected one that exists; check the path"
        ) from error
    except OSError as error:
        raise UnreadableFilesError([FailedFile(path, reason_of(error))]) from error
    if not known:
        raise InvalidInputError(
            f"{shown(path)} is of an unknown kind; expected {EXPECTED}; convert it to text first"
        )
    return path
