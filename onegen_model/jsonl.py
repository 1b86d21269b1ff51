"""Files of one JSON object a line, read from disk line by line as they are asked for."""

import gzip
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one field of a record: `segments[0].target.positives`, and what to do."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


# A record and the number of its line, counted from 0 and without blank ones.
Numbered = tuple[int, dict[str, Any]]


class JsonLines(Sequence[dict[str, Any]]):
    """The objects of a .jsonl file; only where each line starts is kept in memory.

    A .jsonl.gz is unpacked into memory, because nobody can jump inside one. Blank lines do not
    count. Raises InvalidInputError with the line's number where one is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInputError(
                f"No file {path}; expected a .jsonl or .jsonl.gz; check the path"
            )
        self.path = path
        self._starts = array("q")
        self._numbers = array("q")
        self._unpacked: list[bytes] | None = [] if path.suffix == ".gz" else None
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
                self._scan(lines)
        except (OSError, EOFError) as error:
            raise InvalidInputError(
                f"{path} cannot be read ({error}); expected JSON lines; fetch the file again"
            ) from error

    def _scan(self, lines: Iterator[bytes]) -> None:
        start = 0
        for number, line in enumerate(lines, 1):
            if line.strip():
                self._starts.append(start)
                self._numbers.append(number)
                if self._unpacked is not None:
                    self._unpacked.append(line)
            start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._sound(_parse(self._line(index)), index)

    def where(self, index: int) -> str:
        """`file:line`, for messages."""
        return f"{self.path}:{self._numbers[index]}"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """In order, which is faster than one by one."""
        for index, plain in enumerate(self.scan()):
            yield self._sound(plain, index)

    def scan(self) -> Iterator[dict[str, Any] | Problem]:
        """In order; instead of what is no JSON object, why it is none."""
        if self._unpacked is not None:
            yield from map(_parse, self._unpacked)
            return
        with self.path.open("rb") as lines:
            yield from (_parse(line) for line in lines if line.strip())

    def _line(self, index: int) -> bytes:
        if self._unpacked is not None:
            return self._unpacked[index]
        # Opened anew each time: a worker process must not share its parent's place in the file.
        with self.path.open("rb") as lines:
            lines.seek(self._starts[index])
            return lines.readline()

    def _sound(self, plain: dict[str, Any] | Problem, index: int) -> dict[str, Any]:
        if isinstance(plain, Problem):
            raise InvalidInputError(f"{self.where(index)}: {plain}; mend it")
        return plain


def _parse(line: bytes) -> dict[str, Any] | Problem:
    try:
        plain = json.loads(line)
    except ValueError as error:
        return Problem("line", f"not JSON ({error}); expected one object a line")
    if not isinstance(plain, dict):
        return Problem("line", f"a {type(plain).__name__}; expected one object a line")
    return plain
