"""Which names of a folder are passed over: hidden ones, ignored ones, and those by pattern.

The rules are those of ripgrep: a .gitignore counts inside a git repository, an .ignore everywhere
and before it; the nearest file that knows a name decides.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from onegen_model.documents.options import ReadingOptions

_GIT = ".git"


@dataclass(frozen=True, slots=True)
class Rules:
    """Decides for the names below one folder that is searched."""

    root: Path
    options: ReadingOptions
    include: GitIgnoreSpec
    exclude: GitIgnoreSpec

    @classmethod
    def of(cls, root: Path, options: ReadingOptions) -> "Rules":
        """The rules for a folder that is searched."""
        return cls(
            root,
            options,
            GitIgnoreSpec.from_lines(options.include),
            GitIgnoreSpec.from_lines(options.exclude),
        )

    def allow_folder(self, path: Path) -> bool:
        """Whether a folder is searched."""
        return not self._is_dropped(path, "/")

    def allow_file(self, path: Path) -> bool:
        """Whether a file is read."""
        if self._is_dropped(path, ""):
            return False
        return not self.options.include or self.include.match_file(_relative(path, self.root))

    def _is_dropped(self, path: Path, end: str) -> bool:
        if path.name.startswith(".") and (path.name == _GIT or not self.options.hidden):
            return True
        if self.exclude.match_file(_relative(path, self.root) + end):
            return True
        return self.options.use_ignore_files and _is_ignored(path.parent, path.name + end)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_ignored(folder: Path, name: str) -> bool:
    """Asks the files of the folder and of those around it, from the nearest outwards."""
    for file_name in (".ignore", ".gitignore"):
        decided = _decide(folder, name, file_name)
        if decided is not None:
            return decided
    return False


def _decide(folder: Path, name: str, file_name: str) -> bool | None:
    inner = name
    if file_name == ".gitignore" and not _is_in_repository(folder):
        return None
    for here in (folder, *folder.parents):
        names = [file_name]
        ends = file_name == ".gitignore" and _has_git(here)
        if ends:
            names.append(f"{_GIT}/info/exclude")
        for one in names:
            spec = _spec(here / one)
            found = spec.check_file(inner).include if spec else None
            if found is not None:
                return found
        if ends:
            return None
        inner = f"{here.name}/{inner}"
    return None


def _is_in_repository(folder: Path) -> bool:
    return any(map(_has_git, (folder, *folder.parents)))


@lru_cache(maxsize=4096)
def _has_git(folder: Path) -> bool:
    return os.path.lexists(folder / _GIT)


def _spec(path: Path) -> GitIgnoreSpec | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _parsed(path: Path, _changed: int, _size: int) -> GitIgnoreSpec | None:
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return GitIgnoreSpec.from_lines(lines)
    except (OSError, ValueError):
        return None
