"""Long work: how it shows its progress, and how it is stopped."""

from collections.abc import Callable

# Whether a job stops at the next step; the same call continues it.
ShouldStop = Callable[[], bool]


def is_hidden(progress: bool | None) -> bool | None:
    """The `disable` of tqdm: None shows a bar in a terminal only."""
    return None if progress is None else not progress
