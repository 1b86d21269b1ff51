"""Waits for changes of files, to sync an index when there are any."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.progress import ShouldStop

# Changes that come within this time are one.
DEBOUNCE_SECONDS = 1.6
_POLL_SECONDS = 0.2


def watch_files(
    paths: Iterable[Path], out: Path, should_stop: ShouldStop, *, pause: float = DEBOUNCE_SECONDS
) -> Iterator[None]:
    """Yields at first, and after each change below the folders, or of the files, until it is
    stopped. A folder that is removed and made again, or mounted, is watched again.

    Changes of the index in `out` do not count. Raises MissingExtraError without watchfiles, and
    InvalidInputError if the system cannot watch so many folders.
    """
    import_watchfiles()
    changes, ended = queue.SimpleQueue[Exception | None](), threading.Event()

    def watch(group: _Watched) -> None:
        try:
            for _ in group.changes(pause, ended):
                changes.put(None)
        except Exception as error:  # Shown where the changes are waited for.
            changes.put(error)

    groups = _grouped(list(paths), out.resolve())
    threads = [threading.Thread(target=watch, args=(group,), daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    try:
        while not should_stop():
            try:
                error = changes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if error is not None:
                raise InvalidInputError(
                    f"The files cannot be watched ({error}); expected a system with room for "
                    "watches; raise its limit of them, or run without watching"
                ) from error
            yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(timeout=5.0)


@dataclass(frozen=True, slots=True)
class _Watched:
    """Folders to watch, and which changed paths count: files below them, or `files` alone."""

    folders: frozenset[Path]
    recursive: bool
    out: Path
    files: frozenset[Path] = frozenset()

    def counts(self, _: Any, path: str) -> bool:
        if self.files and Path(path) not in self.folders:
            return Path(path) in self.files
        return not Path(path).is_relative_to(self.out)

    def changes(self, pause: float, ended: threading.Event) -> Iterator[None]:
        """Yields when a watch has begun, and after each change."""
        while not ended.is_set():
            if there := self._there():
                with suppress(FileNotFoundError):  # Gone since it was looked for.
                    yield from self._watch(there, pause, ended)
                continue
            yield
            while not self._there() and not ended.wait(_POLL_SECONDS):
                pass

    def _watch(
        self, there: dict[Path, tuple[int, int]], pause: float, ended: threading.Event
    ) -> Iterator[None]:
        """Until a folder itself has changed, whose watch ends with it."""
        is_first = True
        for found in import_watchfiles().watch(
            *there,
            watch_filter=self.counts,
            recursive=self.recursive,
            debounce=round(pause * 1000),
            step=min(50, round(pause * 1000)),
            stop_event=ended,
            rust_timeout=round(_POLL_SECONDS * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            if found or is_first:  # Something may have changed before the watch began.
                yield
            is_first = False
            if there != self._there() or any(Path(path) in there for _, path in found):
                return

    def _there(self) -> dict[Path, tuple[int, int]]:
        """The folders that exist, and what tells them from others of the same name."""
        found = {}
        for folder in self.folders:
            try:
                state = folder.stat()
            except OSError:
                continue
            found[folder] = state.st_dev, state.st_ino
        return found


def _grouped(paths: Sequence[Path], out: Path) -> list[_Watched]:
    folders = frozenset(path.resolve() for path in paths if path.is_dir())
    files = frozenset(path.resolve() for path in paths if not path.is_dir())
    # A file is watched through its folder: most editors replace it by a new one.
    around = _Watched(frozenset(file.parent for file in files), False, out, files)
    return [group for group in (_Watched(folders, True, out), around) if group.folders]


def import_watchfiles() -> Any:
    """The package; raises MissingExtraError without it."""
    try:
        import watchfiles
    except ImportError as error:
        raise MissingExtraError(
            "The package watchfiles is not installed; expected it for watching files; run "
            '`pip install "onegen[documents]"`'
        ) from error
    return watchfiles
