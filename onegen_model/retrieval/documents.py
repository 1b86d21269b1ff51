"""Reads files as documents, and splits documents into passages.

The id of a passage is "<document id>#<n>". The id of a document is the one its record gives, or
its path (relative to the working directory, if inside it), with ":<line>" for a record of a jsonl
file.
"""

import gzip
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.jsonl import parse_line, to_line
from onegen_model.retrieval.manifest import is_ours

logger = logging.getLogger(__name__)

_MARKDOWN = (".md", ".markdown")
_RECORDS = (".jsonl", ".jsonl.gz")
KNOWN = (".txt", *_MARKDOWN, *_RECORDS)
_EXPECTED = "UTF-8 text in " + ", ".join(KNOWN)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_CODE_FENCE = re.compile(r"^ {0,3}(```|~~~).*?(^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
# A text with more characters per token is cut without counting its tokens.
_CHARS_PER_TOKEN = 64
# The splitter takes quadratic time for a text without line breaks.
_SLICE = 200_000


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file, or of one record in it.

    `source` is the file's absolute path; `place` is the file, and line, that errors name.
    """

    id: str
    text: str
    title: str
    source: str
    place: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    is_markdown: bool = False


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """Files to read, and those inside folders that were skipped because of their kind."""

    files: tuple[Path, ...]
    skipped: tuple[Path, ...] = ()


def find_files(paths: Iterable[str | os.PathLike[str]]) -> FoundFiles:
    """Each file once; folders are searched recursively, without hidden files and indexes.

    Raises InvalidInputError for a path that is missing, of unknown kind, or a folder without
    documents.
    """
    files: dict[Path, Path] = {}
    skipped: list[Path] = []
    for path in map(Path, paths):
        inside = list(_walk(path)) if path.is_dir() else [_require_known(path)]
        known = [file for file in inside if _is_known(file)]
        if not known:
            raise InvalidInputError(
                f"The folder {path} holds no documents; expected files of {_EXPECTED}; "
                "choose another folder"
            )
        for file in known:
            files.setdefault(file.resolve(), file)
        skipped += [file for file in inside if not _is_known(file)]
    return FoundFiles(tuple(files.values()), tuple(skipped))


def warn_of_skipped(found: FoundFiles) -> None:
    """Log how many files were skipped."""
    if found.skipped:
        logger.warning(
            "%d files of unknown kind were skipped (the first: %s); expected %s",
            len(found.skipped),
            found.skipped[0],
            _EXPECTED,
        )


def read_file(path: Path) -> Iterator[Document]:
    """The documents of one file, without empty ones; raises InvalidInputError with the line."""
    records = path.name.lower().endswith(_RECORDS)
    for document in _read_records(path) if records else [_read_text(path)]:
        if document.text.strip():
            yield document
        else:
            logger.warning("%s is empty and was skipped", document.place)


def split(document: Document, count_tokens: Callable[[str], int], max_tokens: int) -> list[Passage]:
    """Passages of at most `max_tokens` tokens, title included; a short document stays whole."""
    title = _shorten(document.title, count_tokens, max_tokens // 3)
    head = f"{title}\n" if title else ""

    def count(text: str) -> int:
        if len(text) > max_tokens * _CHARS_PER_TOKEN:
            return max_tokens + 1
        return count_tokens(text)

    whole = document.text.strip()
    texts, capacity = [whole], max_tokens - count(head)
    # Tokens of a title and of a text do not always add up, so both are counted together.
    while capacity > 0 and any(count(head + text) > max_tokens for text in texts):
        texts = _chunks(whole, count, capacity, document.is_markdown)
        capacity = min(capacity - 1, capacity * 9 // 10)
    return [
        Passage(
            f"{document.id}#{n}",
            text,
            title,
            {**document.metadata, "source": document.source, "chunk": n},
        )
        for n, text in enumerate(texts)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    if is_ours(folder):
        raise InvalidInputError(
            f"{folder} is an index; expected documents; name the folder of the documents"
        )
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not is_ours(here / name)
        )
        yield from (here / name for name in sorted(names) if not name.startswith("."))


def _is_known(path: Path) -> bool:
    return path.name.lower().endswith(KNOWN)


def _require_known(path: Path) -> Path:
    if not path.exists():
        raise InvalidInputError(
            f"There is no file or folder {path}; expected {_EXPECTED}; check the path"
        )
    if not _is_known(path):
        raise InvalidInputError(
            f"{path} is of an unknown kind; expected {_EXPECTED}; convert it to text first"
        )
    return path


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error}); expected {_EXPECTED}; repair it or leave it out"
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
        f"{path}:{line} is not text; expected {_EXPECTED}; convert it or leave it out"
    )


def _read_text(path: Path) -> Document:
    text = _decode(path).replace("\r\n", "\n")
    is_markdown = path.name.lower().endswith(_MARKDOWN)
    heading = _HEADING.search(_CODE_FENCE.sub("", text)) if is_markdown else None
    title = heading.group(1) if heading else path.stem
    return Document(
        _path_id(path), text, title, str(path.resolve()), str(path), is_markdown=is_markdown
    )


def _read_records(path: Path) -> Iterator[Document]:
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if line.strip():
            yield _read_record(path, number, line)


def _read_record(path: Path, number: int, line: str) -> Document:
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
        f"{_path_id(path)}:{number}" if given is None else str(given),
        record["text"],
        title,
        str(path.resolve()),
        place,
        metadata,
    )


def _bad_record(place: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f'{place} {what}; expected {{"text": "…"}} with, optionally, "title" and "id" (text) and '
        '"metadata" (an object); correct the line or leave it out'
    )


def _path_id(path: Path) -> str:
    absolute = path.resolve()
    here = Path.cwd()
    inside = absolute.is_relative_to(here)
    return (absolute.relative_to(here) if inside else absolute).as_posix()


def _shorten(title: str, count_tokens: Callable[[str], int], max_tokens: int) -> str:
    words = title[: max_tokens * _CHARS_PER_TOKEN].split()
    while words and count_tokens(" ".join(words)) > max_tokens:
        words = words[: len(words) * 3 // 4]
    return " ".join(words)


def _chunks(text: str, count: Callable[[str], int], capacity: int, is_markdown: bool) -> list[str]:
    kind = MarkdownSplitter if is_markdown else TextSplitter
    splitter = kind.from_callback(count, capacity)
    chunks = [chunk for part in _slices(text) for chunk in splitter.chunks(part)]
    if not is_markdown:
        return chunks
    # A heading alone is retrieved for questions about it and answers none.
    return [chunk for chunk in chunks if _HEADING.sub("", chunk).strip()] or chunks


def _slices(text: str) -> Sequence[str]:
    slices = []
    while len(text) > _SLICE:
        cuts = (text.rfind(mark, _SLICE // 2, _SLICE) for mark in ("\n\n", "\n", " "))
        cut = next((cut for cut in cuts if cut > 0), _SLICE)
        slices.append(text[:cut])
        text = text[cut:]
    return [*slices, text]
