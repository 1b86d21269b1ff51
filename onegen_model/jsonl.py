"""JSON lines: one object a line, in UTF-8; plain or packed with gzip."""

import gzip
import json
import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast, overload

from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one field of a record: `segments[0].target.positives`, and what to do."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


# What a damaged file raises besides InvalidInputError.
_UNREADABLE = (OSError, EOFError, zlib.error)

# A record and its index, counted from 0 without blank lines.
Numbered = tuple[int, dict[str, Any]]


def to_line(plain: Mapping[str, Any]) -> str:
    """One line, newline included; raises TypeError or ValueError for what JSON cannot hold."""
    line = json.dumps(plain, ensure_ascii=False) + "\n"
    line.encode()  # Half of a surrogate pair is no UTF-8.
    return line


def parse_line(line: bytes | str) -> dict[str, Any]:
    """The object of one line; raises ValueError with what the line is instead."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(plain, dict):
        raise ValueError(f"a {type(plain).__name__}")
    return plain


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, in order; raises InvalidInputError with `file:line`.

    Reads once from start to end; `JsonLines` also gives access by index.
    """
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _sound(_parse(line), f"{path}:{number}")
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append all rows in one write, and sync it to disk; raises OSError."""
    content = "".join(map(to_line, rows)).encode()
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class JsonLines(Sequence[dict[str, Any]]):
    """The objects of a .jsonl file by index; only the offsets of lines are kept in memory.

    A .jsonl.gz has no random access and is unpacked into memory. Blank lines do not count. Raises
    InvalidInputError with `file:line` for a line that is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            missing = f"{path} is a folder" if path.is_dir() else f"No file {path}"
            raise InvalidInputError(f"{missing}; expected a .jsonl or .jsonl.gz; check the path")
        self.path = path
        self._starts = array("q")
        self._numbers = array("q")
        self._unpacked: list[bytes] | None = [] if _is_packed(path) else None
        try:
            with _open(path) as lines:
                self._scan(lines)
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error

    def _scan(self, lines: Iterator[bytes]) -> None:
        start = 0
        for number, line in enumerate(lines, 1):
            if line.strip():
                if not self._starts:
                    _require_lines(self.path, line)
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
        return _sound(_parse(self._line(index)), self.where(index))

    def where(self, index: int) -> str:
        """`file:line`, for messages."""
        return f"{self.path}:{self._numbers[index]}"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """In order; faster than access by index."""
        for index, plain in enumerate(self.scan()):
            yield _sound(plain, self.where(index))

    def scan(self) -> Iterator[dict[str, Any] | Problem]:
        """In order; a Problem in place of each line that is no JSON object."""
        if self._unpacked is not None:
            yield from map(_parse, self._unpacked)
            return
        with self.path.open("rb") as lines:
            yield from (_parse(line) for line in lines if line.strip())

    def _line(self, index: int) -> bytes:
        if self._unpacked is not None:
            return self._unpacked[index]
        # Opened for each line: worker processes must not share one file position.
        with self.path.open("rb") as lines:
            lines.seek(self._starts[index])
            return lines.readline()


def _require_lines(path: Path, first: bytes) -> None:
    """Raise InvalidInputError for a file of another form: each of its lines would be wrong."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        raise InvalidInputError(
            f"{path} is not UTF-8 but probably UTF-16; expected JSON lines in UTF-8; convert it"
        )
    start = first.removeprefix(b"\xef\xbb\xbf").strip()
    # A list that ends in its line is one bad line.
    if start in (b"[", b"{") or (start.startswith(b"[") and not start.endswith(b"]")):
        what = "a JSON list" if start.startswith(b"[") else "JSON on several lines"
        raise InvalidInputError(
            f"{path} is {what}; expected one object a line, without a list around them; write each "
            "object on a line of its own"
        )


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_packed(path) else path.open("rb")


def _parse(line: bytes) -> dict[str, Any] | Problem:
    try:
        return parse_line(line)
    except ValueError as error:
        return Problem("line", f"{error}; expected one object a line")


def _sound(plain: dict[str, Any] | Problem, place: str) -> dict[str, Any]:
    if isinstance(plain, Problem):
        raise InvalidInputError(f"{place}: {plain}; correct the line")
    return plain


def _unreadable(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{path} cannot be read ({error}); expected JSON lines; fetch the file again"
    )
