"""Long work: how it shows its progress, and how it is stopped."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from tqdm import tqdm

# Whether a job stops at the next step; the same call continues it.
ShouldStop = Callable[[], bool]

# Between two lines where there is no terminal for a bar.
LINE_SECONDS = 10.0


def is_hidden(progress: bool | None) -> bool | None:
    """The `disable` of tqdm: None shows a bar in a terminal only."""
    return None if progress is None else not progress


class Progress(Protocol):
    """Counts the steps of a job and shows them, until it is left."""

    def update(self, count: float) -> bool | None:
        """So many steps more are done."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


def show_progress(total: int, work: str, unit: str, progress: bool | None) -> Progress:
    """A bar (True), nothing (False), or, for None, a bar in a terminal and, without one, a line on
    stderr about every ten seconds.

    `work` is a word such as "Reading", and `unit` is one of `total`.
    """
    if progress is None and not sys.stderr.isatty():
        return _Lines(total, work, unit)
    return tqdm(total=total, desc=work, unit=unit, disable=not progress and progress is not None)


class _Lines:
    def __init__(self, total: int, work: str, unit: str) -> None:
        self._total, self._work, self._unit = total, work, unit
        self._done = 0.0
        self._begun = time.monotonic()
        self._due = self._begun + LINE_SECONDS

    def update(self, count: float) -> None:
        self._done += count
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LINE_SECONDS
        rest = (self._total - self._done) * (now - self._begun) / max(self._done, 1)
        sys.stderr.write(
            f"{self._work}: {self._done:.0f} of {self._total} {self._unit}s, "
            f"about {duration(rest)} left\n"
        )
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to be shown."""


def duration(seconds: float) -> str:
    """A length of time in words, for people."""
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
