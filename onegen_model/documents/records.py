"""The records of .jsonl files, as this library, BEIR and FlashRAG write them."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from onegen_model.documents.failures import FileProblem
from onegen_model.documents.kinds import BYTE_ORDER_MARKS
from onegen_model.documents.options import ReadingOptions
from onegen_model.jsonl import parse_line, to_line
from onegen_model.places import RESERVED

_QUOTED_TITLE = re.compile(r'\s*"(.*)"\s*')
_OWN_FIELDS = frozenset(("id", "_id", "text", "contents", "title", "metadata"))
_EXPECTED = (
    'expected {"text": "…"} with, optionally, "title" and "id" (text) and "metadata" (an object)'
)


@dataclass(frozen=True, slots=True)
class Record:
    """One line; `id` is None where the line gives none."""

    line: int
    id: str | None
    title: str
    text: str
    metadata: Mapping[str, Any]


def read_records(path: Path, options: ReadingOptions) -> Iterator[Record]:
    """Each line that is not blank; raises FileProblem with the first line that is bad."""
    try:
        with _open(path, options) as lines:
            for number, line in enumerate(_limited(lines, options), 1):
                if line.strip():
                    yield _parse(line, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileProblem(f"it is damaged ({error})") from error
    except UnicodeError as error:
        raise FileProblem(f"it is not text in {_encoding(path, options)} ({error})") from error


@contextmanager
def _open(path: Path, options: ReadingOptions) -> Iterator[IO[str]]:
    with _open_bytes(path) as file:
        encoding = _encoding(path, options)
        yield io.TextIOWrapper(file, encoding=encoding, newline="\n")


def _open_bytes(path: Path) -> IO[bytes]:
    is_packed = path.name.lower().endswith(".gz")
    return cast(IO[bytes], gzip.open(path)) if is_packed else path.open("rb")


def _encoding(path: Path, options: ReadingOptions) -> str:
    if options.encoding:
        return options.encoding
    with _open_bytes(path) as file:
        start = file.read(4)
    marks = (name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark))
    return next(marks, "utf-8")


def _limited(lines: IO[str], options: ReadingOptions) -> Iterator[str]:
    """A packed file may hold a line without an end."""
    most, number = options.max_text_characters, 0
    while line := lines.readline(most + 1):
        number += 1
        if len(line) > most:
            raise FileProblem(f"line {number} has more than {most} characters")
        yield line


def _parse(line: str, number: int) -> Record:
    try:
        plain = parse_line(line)
        to_line(plain)
    except ValueError as error:  # Not JSON, or an escaped half of a character.
        raise _bad(number, f"is {_what(error)}") from error
    text, title = plain.get("text"), plain.get("title") or ""
    if text is None and isinstance(plain.get("contents"), str):
        title, text = _flash_rag(plain["contents"], title)
    if not isinstance(text, str):
        raise _bad(number, "has no text")
    if not isinstance(title, str):
        raise _bad(number, f"has the title {title!r}")
    return Record(number, _id(plain, number), title, text, _metadata(plain, number))


def _what(error: ValueError) -> str:
    return "not JSON of UTF-8 text" if isinstance(error, UnicodeError) else str(error)


def _flash_rag(contents: str, title: str) -> tuple[str, str]:
    """FlashRAG puts the title, in quotes, into the first line."""
    first, _, rest = contents.partition("\n")
    quoted = _QUOTED_TITLE.fullmatch(first)
    return (quoted.group(1), rest) if quoted and rest.strip() and not title else (title, contents)


def _id(plain: Mapping[str, Any], number: int) -> str | None:
    given = plain.get("id", plain.get("_id"))
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise _bad(number, f"has the id {given!r}")
    return str(given)


def _metadata(plain: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The user's own, and the other fields of the record."""
    given = plain.get("metadata") or {}
    if not isinstance(given, dict):
        raise _bad(number, f"has the metadata {given!r}")
    others = {name: value for name, value in plain.items() if name not in _OWN_FIELDS}
    if {"id", "_id"} <= plain.keys():
        others["_id"] = plain["_id"]
    if {"text", "contents"} <= plain.keys():
        others["contents"] = plain["contents"]
    for name in others.keys() & given.keys():
        raise _bad(number, f"has {name!r} twice, beside its metadata and in it")
    if RESERVED in given or RESERVED in others:
        raise _bad(
            number, f"has the metadata {RESERVED!r}, which is kept for the place of a passage"
        )
    return {**given, **others}


def _bad(line: int, what: str) -> FileProblem:
    return FileProblem(f"line {line} {what}; {_EXPECTED}")
