"""Waits for changes of files, to sync an index when there are any."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_model.errors import MissingExtraError
from onegen_model.progress import ShouldStop

# Changes that come within this time are one.
DEBOUNCE_SECONDS = 1.6
_POLL_SECONDS = 0.2


def watch_files(
    paths: Iterable[Path], out: Path, should_stop: ShouldStop, *, pause: float = DEBOUNCE_SECONDS
) -> Iterator[None]:
    """Yields at first, and after each change below the folders, or of the files, until it is
    stopped.

    Changes of the index in `out` do not count. Raises MissingExtraError without watchfiles.
    """
    watchfiles = import_watchfiles()
    changes, ended = queue.SimpleQueue[None](), threading.Event()
    settings = {
        "debounce": round(pause * 1000),
        "step": min(50, round(pause * 1000)),
        "stop_event": ended,
        "rust_timeout": round(_POLL_SECONDS * 1000),
        "yield_on_timeout": True,
    }

    def watch(group: _Watched) -> None:
        is_first = True
        for found in watchfiles.watch(
            *group.folders, watch_filter=group.counts, recursive=group.recursive, **settings
        ):
            if found or is_first:  # Something may have changed before the watch began.
                changes.put(None)
            is_first = False

    groups = _grouped(list(paths), out.resolve())
    threads = [threading.Thread(target=watch, args=(group,), daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    try:
        while not should_stop():
            try:
                changes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
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
        if self.files:
            return Path(path) in self.files
        return not Path(path).is_relative_to(self.out)


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
