"""Which names of a folder are passed over: hidden ones, ignored ones, and those by pattern.

The rules are those of ripgrep: a .gitignore counts inside a git repository, an .ignore everywhere
and before it; the nearest file that knows a name decides. A folder that is named itself is
searched, whatever ignores it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from onegen_model.documents.options import ReadingOptions

_GIT = ".git"


@dataclass(frozen=True, slots=True)
class _Layer:
    """An ignore file, and the way from its folder to the one that is asked about."""

    spec: GitIgnoreSpec
    way: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Decides for the names below one folder that is searched; all paths are absolute."""

    root: Path
    options: ReadingOptions
    include: GitIgnoreSpec
    exclude: GitIgnoreSpec
    _layers: dict[Path, list[_Layer]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, options: ReadingOptions) -> "Rules":
        """The rules for a folder that is searched."""
        include, exclude = map(GitIgnoreSpec.from_lines, (options.include, options.exclude))
        return cls(root, options, include, exclude)

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
        return self.options.use_ignore_files and self._is_ignored(path.parent, path.name + end)

    def _is_ignored(self, folder: Path, name: str) -> bool:
        if folder not in self._layers:
            layers = [*self._around(folder, ".ignore"), *self._around_in_git(folder)]
            self._layers[folder] = layers
        for layer in self._layers[folder]:
            decided = layer.spec.check_file(layer.way + name).include
            if decided is not None:
                return decided
        return False

    def _around_in_git(self, folder: Path) -> Iterator[_Layer]:
        """The .gitignore files up to the root of the repository, and its private one."""
        around = (folder, *folder.parents)
        top = next((one for one in around if os.path.lexists(one / _GIT)), None)
        if top is not None:
            yield from self._around(folder, ".gitignore", top)
            yield from self._layer(folder, top, f"{_GIT}/info/exclude")

    def _around(self, folder: Path, name: str, top: Path | None = None) -> Iterator[_Layer]:
        for here in (folder, *folder.parents):
            yield from self._layer(folder, here, name)
            if here == top:
                return

    def _layer(self, folder: Path, here: Path, name: str) -> Iterator[_Layer]:
        spec = _parse(here / name)
        if spec is None:
            return
        is_above = here != self.root and here in self.root.parents
        if is_above and spec.check_file(f"{_relative(self.root, here)}/").include:
            return
        way = "" if folder == here else f"{_relative(folder, here)}/"
        yield _Layer(spec, way)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _parse(path: Path) -> GitIgnoreSpec | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return GitIgnoreSpec.from_lines(lines)
    except (OSError, ValueError):
        return None
