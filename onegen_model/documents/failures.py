"""Files that cannot be read, and why."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from onegen_model.errors import InvalidInputError

# So many files are named in one message.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file, or folder, that cannot be read; `reason` is the end of "PATH: …"."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}"


OnFailure = Callable[[FailedFile], None]


class UnreadableFilesError(InvalidInputError):
    """Files cannot be read; `failures` are all of them."""

    def __init__(self, failures: Iterable[FailedFile]) -> None:
        self.failures = tuple(failures)
        super().__init__(_message(self.failures))

    def __reduce__(self) -> tuple[type["UnreadableFilesError"], tuple[tuple[FailedFile, ...]]]:
        return type(self), (self.failures,)


class FileProblem(Exception):
    """Why one file cannot be read, to become a FailedFile; never leaves this package."""


def shown(path: str | os.PathLike[str]) -> str:
    r"""A path as it can be printed and stored: a byte that is no UTF-8 becomes \xNN."""
    return os.fsencode(os.fspath(path)).decode("utf-8", "backslashreplace")


def _message(failures: tuple[FailedFile, ...]) -> str:
    if len(failures) == 1:
        return f"{failures[0]}; repair the file, leave it out, or skip files that cannot be read"
    named = list(map(str, failures[:_NAMED]))
    if len(failures) > _NAMED:
        named.append(f"and {len(failures) - _NAMED} more")
    # On one line, as the command line writes it, too.
    lines = ";\n  ".join(named)
    return (
        f"{len(failures)} files cannot be read:\n  {lines};\nrepair them, leave them out, or skip "
        "files that cannot be read"
    )
