"""Finds the files to read."""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.retrieval.manifest import is_ours

logger = logging.getLogger(__name__)

MARKDOWN = (".md", ".markdown")
RECORDS = (".jsonl", ".jsonl.gz")
KNOWN = (".txt", *MARKDOWN, *RECORDS)
EXPECTED = "UTF-8 text in " + ", ".join(KNOWN)


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """Files to read, and those inside folders that were skipped because of their kind."""

    files: tuple[Path, ...]
    skipped: tuple[Path, ...] = ()


def find_files(paths: Iterable[str | os.PathLike[str]]) -> FoundFiles:
    """Each file once; folders are searched recursively, without hidden files and indexes.

    Raises InvalidInputError for a path that is missing, of unknown kind, or a folder without
    documents.
    """
    files: dict[Path, Path] = {}
    skipped: list[Path] = []
    for path in map(Path, paths):
        inside = list(_walk(path)) if path.is_dir() else [_require_known(path)]
        known = [file for file in inside if _is_known(file)]
        if not known:
            raise InvalidInputError(
                f"The folder {path} holds no documents; expected files of {EXPECTED}; "
                "choose another folder"
            )
        for file in known:
            files.setdefault(file.resolve(), file)
        skipped += [file for file in inside if not _is_known(file)]
    return FoundFiles(tuple(files.values()), tuple(skipped))


def warn_of_skipped(found: FoundFiles) -> None:
    """Log how many files were skipped."""
    if found.skipped:
        logger.warning(
            "%d files of unknown kind were skipped (the first: %s); expected %s",
            len(found.skipped),
            found.skipped[0],
            EXPECTED,
        )


def _walk(folder: Path) -> Iterator[Path]:
    if is_ours(folder):
        raise InvalidInputError(
            f"{folder} is an index; expected documents; name the folder of the documents"
        )
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not is_ours(here / name)
        )
        yield from (here / name for name in sorted(names) if not name.startswith("."))


def _is_known(path: Path) -> bool:
    return path.name.lower().endswith(KNOWN)


def _require_known(path: Path) -> Path:
    if not path.exists():
        raise InvalidInputError(
            f"There is no file or folder {path}; expected {EXPECTED}; check the path"
        )
    if not _is_known(path):
        raise InvalidInputError(
            f"{path} is of an unknown kind; expected {EXPECTED}; convert it to text first"
        )
    return path
