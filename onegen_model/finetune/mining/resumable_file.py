"""A file of lines that is written over hours, and resumed after a kill."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.files import write_atomically
from onegen_model.jsonl import read_lines


class PartialFile:
    """Lines of a file that appears at `path` when all of them are written.

    Until then `path.partial` holds them, and `path.partial.json` their number and the settings
    they were made with. `done` counts finished items (not lines); `counts` are numbers of the
    caller's own that are saved with them. Raises InvalidInputError if `path` exists, or was
    started with other settings, unless `force` is given.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, force: bool = False) -> None:
        self.path = path
        self._lines = path.with_name(f"{path.name}.partial")
        self._state = path.with_name(f"{path.name}.partial.json")
        # As they are after a round trip through JSON.
        self._settings = json.loads(json.dumps(settings))
        self.done = 0
        self.counts: Counter[str] = Counter()
        self.require_place(path, force=force)
        try:
            size = self._take_over(force=force)
            if not size:
                self._state.unlink(missing_ok=True)
            with self._lines.open("ab") as lines:
                lines.truncate(size)
        except OSError as error:
            raise self._unwritable(error) from error

    @staticmethod
    def require_place(path: Path, *, force: bool = False) -> None:
        """Raise InvalidInputError if the file cannot be created."""
        if path.is_dir() or not path.parent.is_dir():
            raise InvalidInputError(
                f"{path} cannot be written; expected a file in a folder that exists; choose "
                "another one, or make the folder"
            )
        if path.exists() and not force:
            raise InvalidInputError(
                f"{path} exists; expected a new file; choose another one, or use --force"
            )

    def _take_over(self, *, force: bool) -> int:
        """The length of the part to keep, in bytes."""
        if not self._state.exists() or not self._lines.exists():
            return 0
        try:
            plain = json.loads(self._state.read_bytes())
            settings, done, size = plain["settings"], int(plain["done"]), int(plain["bytes"])
            counts = Counter(plain["counts"])
            problem = _difference(settings, self._settings)
        except (ValueError, KeyError, TypeError, AttributeError):
            problem = "its state cannot be read"
        else:
            if not problem and self._lines.stat().st_size >= size:
                self.done, self.counts = done, counts
                return size
        if not force:
            raise InvalidInputError(
                f"{self._lines} cannot be resumed: {problem or 'lines are missing'}; expected "
                "the same inputs and settings as before; use these, or start again with --force"
            )
        return 0

    def rows(self) -> list[dict[str, Any]]:
        """The objects that are written so far; raises InvalidInputError."""
        return list(read_lines(self._lines))

    def append(self, lines: Iterable[str], counts: Mapping[str, int], *, items: int) -> None:
        """Write and sync lines: once this returns, `items` more survive any failure."""
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
        try:
            with self._lines.open("ab") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
                size = out.tell()
            self.counts.update(counts)
            self.done += items
            self._write_state(size)
        except OSError as error:
            raise self._unwritable(error) from error

    def _write_state(self, size: int) -> None:
        plain = {
            "settings": self._settings,
            "done": self.done,
            "bytes": size,
            "counts": self.counts,
        }
        write_atomically(self._state, json.dumps(plain, indent=1))

    def finish(self) -> None:
        """Move the lines to `path`."""
        try:
            os.replace(self._lines, self.path)
            self._state.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(
            f"{self.path} cannot be written ({error}); expected a writable folder with room; make "
            "room and run the same again, or choose another place"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that has changed, with both values; "" without one."""
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            return f"{name} was {before.get(name)!r} and is {now.get(name)!r} now"
    return ""
