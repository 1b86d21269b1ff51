"""The files that a sync is asked to bring into an index."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from onegen_model.documents.failures import FailedFile, UnreadableFilesError
from onegen_model.documents.finding import FoundFiles, find_files
from onegen_model.documents.options import ReadingOptions
from onegen_model.errors import InvalidInputError
from onegen_model.retrieval.manifest import is_ours


@dataclass(frozen=True, slots=True)
class Selection:
    """Files to read, each once, and the folders that were searched for them, resolved.

    `empty` are those folders without any document, with the error to raise where the index has
    nothing of them. `skipped` files are of unknown kind.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    skipped: tuple[Path, ...] = ()
    failures: tuple[FailedFile, ...] = ()
    empty: tuple[tuple[Path, InvalidInputError], ...] = ()


@dataclass(slots=True)
class _Selected:
    files: dict[str, Path] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[FailedFile] = field(default_factory=list)
    empty: list[tuple[Path, InvalidInputError]] = field(default_factory=list)

    def add(self, found: FoundFiles) -> None:
        for file in found.files:
            self.files.setdefault(os.path.realpath(file), file)
        self.skipped += found.skipped
        self.failures += found.failures


def select_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: ReadingOptions | None = None,
) -> Selection:
    """Raises InvalidInputError for a path that is missing, or of a kind that cannot be read."""
    selected = _Selected()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        is_folder = os.path.isdir(path)
        if is_folder:
            selected.folders.append(Path(path).resolve())
        try:
            selected.add(find_files([path], options))
        except UnreadableFilesError as error:
            selected.failures += error.failures
        except InvalidInputError as error:
            if not is_folder or is_ours(Path(path)):
                raise
            selected.empty.append((Path(path), error))
    return Selection(
        tuple(selected.files.values()),
        tuple(selected.folders),
        tuple(selected.skipped),
        tuple(selected.failures),
        tuple(selected.empty),
    )
