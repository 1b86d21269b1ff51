"""Reads files as documents.

The id of a document is the one its record gives, or its source, with ":<line>" for a record of a
jsonl file.
"""

import gzip
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from onegen_model.documents.document import Document
from onegen_model.documents.finding import EXPECTED, MARKDOWN, RECORDS
from onegen_model.errors import InvalidInputError
from onegen_model.jsonl import parse_line, to_line

logger = logging.getLogger(__name__)

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_CODE_FENCE = re.compile(r"^ {0,3}(```|~~~).*?(^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)


def read_file(path: Path, root: Path | None = None) -> Iterator[Document]:
    """The documents of one file, without empty ones; raises InvalidInputError with the line.

    Sources are relative to `root` (default: the folder of the file).
    """
    source = source_of(path, root or path.resolve().parent)
    records = path.name.lower().endswith(RECORDS)
    for document in _read_records(path, source) if records else [_read_text(path, source)]:
        if document.text.strip():
            yield document
        else:
            logger.warning("%s is empty and was skipped", document.place)


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error}); expected {EXPECTED}; repair it or leave it out"
        ) from error


def _decode(path: Path) -> str:
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_text(path, line) from error
    if "\0" in text:
        raise _not_text(path, text.count("\n", 0, text.index("\0")) + 1)
    return text


def _not_text(path: Path, line: int) -> InvalidInputError:
    return InvalidInputError(
        f"{path}:{line} is not text; expected {EXPECTED}; convert it or leave it out"
    )


def _read_text(path: Path, source: str) -> Document:
    text = _decode(path).replace("\r\n", "\n")
    is_markdown = path.name.lower().endswith(MARKDOWN)
    heading = _HEADING.search(_CODE_FENCE.sub("", text)) if is_markdown else None
    title = heading.group(1) if heading else path.stem
    return Document(
        source,
        text,
        title,
        source,
        str(path),
        syntax="markdown" if is_markdown else "text",
        first_line=1,
    )


def _read_records(path: Path, source: str) -> Iterator[Document]:
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if line.strip():
            yield _read_record(path, source, number, line)


def _read_record(path: Path, source: str, number: int, line: str) -> Document:
    place = f"{path}:{number}"
    try:
        record = parse_line(line)
    except ValueError as error:
        raise _bad_record(place, f"is {error}") from error
    try:
        to_line(record)
    except ValueError as error:  # An escaped half of a character.
        raise _bad_record(place, f"is not JSON of UTF-8 text ({error})") from error
    if not isinstance(record.get("text"), str):
        raise _bad_record(place, "has no text")
    title, metadata = record.get("title") or "", record.get("metadata") or {}
    given = record.get("id")
    if not isinstance(title, str):
        raise _bad_record(place, f"has the title {title!r}")
    if not isinstance(metadata, dict):
        raise _bad_record(place, f"has the metadata {metadata!r}")
    if given is not None and (not isinstance(given, str | int) or given == ""):
        raise _bad_record(place, f"has the id {given!r}")
    return Document(
        f"{source}:{number}" if given is None else str(given),
        record["text"],
        title,
        source,
        place,
        metadata,
        first_line=number,
    )


def _bad_record(place: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f'{place} {what}; expected {{"text": "…"}} with, optionally, "title" and "id" (text) and '
        '"metadata" (an object); correct the line or leave it out'
    )


def source_of(path: Path, root: Path) -> str:
    """The path of a file relative to `root`, with "/"; an absolute path on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError:  # Windows: there is no way from one drive to another.
        return path.resolve().as_posix()
