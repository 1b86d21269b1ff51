"""Reads files as documents.

The id of a document is the one its record gives, or its source, with ":<line>" for a record of a
jsonl file.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from onegen_model.documents.converter import Converted, Converter
from onegen_model.documents.decoding import decode, decode_as_written
from onegen_model.documents.digests import digest_of
from onegen_model.documents.document import Document, Syntax
from onegen_model.documents.failures import (
    FailedFile,
    FileProblem,
    OnFailure,
    UnreadableFilesError,
    shown,
)
from onegen_model.documents.finding import FoundFiles, find_files, reason_of, warn_of_skipped
from onegen_model.documents.front_matter import front_matter
from onegen_model.documents.kinds import Kind, kind_of, suffix_of
from onegen_model.documents.markup import first_heading, rst_to_markdown
from onegen_model.documents.options import ReadingOptions
from onegen_model.documents.records import Record, read_records
from onegen_model.documents.tables import table_of
from onegen_model.errors import InvalidInputError
from onegen_model.places import RESERVED
from onegen_model.progress import is_hidden

logger = logging.getLogger(__name__)

# Of texts that are read as they are written.
_SYNTAXES: Mapping[Kind, Syntax] = {"markdown": "markdown", "code": "code"}


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    options: ReadingOptions | None = None,
    on_failure: OnFailure | None = None,
    progress: bool | None = False,
) -> Iterator[Document]:
    """The documents of files and folders, one after another; files are found at once.

    Sources are relative to `root`; by default to the folder of a file, and to the folder around a
    folder. `on_failure` is called for each file that cannot be read; without it the others are
    read, and then UnreadableFilesError names them all. Raises InvalidInputError for paths that
    cannot be used, and for two files of one source. `progress` None: a bar in a terminal only.
    """
    found = find_files(paths, options)
    warn_of_skipped(found)
    return read_found(
        found,
        root=None if root is None else Path(root),
        options=options,
        on_failure=on_failure,
        progress=progress,
    )


def read_found(
    found: FoundFiles,
    *,
    root: Path | None = None,
    options: ReadingOptions | None = None,
    on_failure: OnFailure | None = None,
    progress: bool | None = False,
) -> Iterator[Document]:
    """As `read_documents`, of files that are found already."""
    sources = sources_of(found, root)
    return _read_all(found, sources, FileReader(options), on_failure, is_hidden(progress))


def sources_of(found: FoundFiles, root: Path | None = None) -> list[str]:
    """The source of each found file; raises InvalidInputError where two files have the same."""
    sources: dict[str, Path] = {}
    for path, folder in zip(found.files, found.roots, strict=True):
        other = sources.setdefault(source_of(path, root or folder), path)
        if other is not path:
            raise InvalidInputError(
                f"{shown(path)} and {shown(other)} have the same source "
                f"{source_of(path, root or folder)!r}; expected one of each; name a root that is "
                "above both files"
            )
    return list(sources)


def _read_all(
    found: FoundFiles,
    sources: list[str],
    reader: "FileReader",
    on_failure: OnFailure | None,
    hidden: bool | None,
) -> Iterator[Document]:
    failures: list[FailedFile] = []
    report = on_failure or failures.append
    for failure in found.failures:
        report(failure)
    files = zip(found.files, sources, strict=True)
    with reader:
        bar = tqdm(
            files, total=len(sources), desc="Reading", unit="file", disable=hidden, leave=False
        )
        for path, source in bar:
            try:
                yield from reader.read(path, source)
            except UnreadableFilesError as error:
                for failure in error.failures:
                    report(failure)
    if failures:
        raise UnreadableFilesError(failures)


def distinct(documents: Iterable[Document]) -> Iterator[Document]:
    """The same documents; raises InvalidInputError for two of one id."""
    places: dict[str, str] = {}
    for document in documents:
        earlier = places.setdefault(document.id, document.place)
        if earlier != document.place:
            raise InvalidInputError(
                f"{document.place} has the same id {document.id!r} as {earlier}; expected one of "
                "each; rename one"
            )
        yield document


def read_file(
    path: Path, root: Path | None = None, options: ReadingOptions | None = None
) -> Iterator[Document]:
    """The documents of one file, without empty ones; raises UnreadableFilesError.

    Sources are relative to `root` (default: the folder of the file). A FileReader is faster for
    many files.
    """
    with FileReader(options) as reader:
        yield from reader.read(path, source_of(path, root or path.parent))


class FileReader:
    """Reads files one by one, in one thread; starts the process that converts them when needed.

    As a context it ends that process, and tells how many documents were empty.
    """

    def __init__(self, options: ReadingOptions | None = None) -> None:
        self.options = options or ReadingOptions()
        self._converter = Converter(self.options)
        self._empty: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._converter.close()
        if self._empty:
            count = len(self._empty)
            what = "is empty and was" if count == 1 else f"and {count - 1} more are empty and were"
            logger.warning("%s %s skipped", self._empty[0], what)
            self._empty.clear()

    def read(self, path: Path, source: str) -> Iterator[Document]:
        """The documents of a file, without empty ones; the whole file is checked first.

        Raises UnreadableFilesError.
        """
        try:
            for document in self._read(path, source):
                if document.text.strip() or self.options.as_written:
                    yield document
                else:
                    self._empty.append(document.place)
        except OSError as error:
            raise UnreadableFilesError([FailedFile(path, reason_of(error))]) from error
        except FileProblem as problem:
            raise UnreadableFilesError([FailedFile(path, str(problem))]) from problem

    def _read(self, path: Path, source: str) -> Iterable[Document]:
        kind = kind_of(path)
        if kind is None:
            raise FileProblem("it is of an unknown kind")
        if kind == "records":
            return self._read_records(path, source)
        _limit_bytes(path, self.options)
        digest = digest_of(path, self.options)
        if kind == "converted":
            return [self._convert(path, source, digest)]
        decoded = decode_as_written if self.options.as_written else decode
        text = decoded(path.read_bytes(), self.options.encoding)
        if len(text) > self.options.max_text_characters:
            raise FileProblem(
                f"its text has more than {self.options.max_text_characters} characters"
            )
        document = _document(path, source, digest, kind, text)
        if self.options.as_written:
            return [replace(document, text=text, syntax=_SYNTAXES.get(kind, "text"), first_line=1)]
        return [document]

    def _read_records(self, path: Path, source: str) -> Iterable[Document]:
        for _ in read_records(path, self.options):
            pass  # A bad line is known before the first document is used.
        digest = digest_of(path, self.options)
        place = shown(path)
        return (
            _record(record, source, place, digest) for record in read_records(path, self.options)
        )

    def _convert(self, path: Path, source: str, digest: str) -> Document:
        empty = not path.stat().st_size  # Which the libraries call damaged.
        converted = Converted("") if empty else self._converter.convert(path)
        return Document(
            source,
            converted.text,
            converted.title or first_heading(converted.text) or shown(path.stem),
            source,
            shown(path),
            syntax="markdown",
            pages=converted.pages,
            digest=digest,
        )


def _limit_bytes(path: Path, options: ReadingOptions) -> None:
    size = path.stat().st_size
    if size > options.max_file_bytes:
        raise FileProblem(
            f"it has {size} bytes; at most {options.max_file_bytes} are read (max_file_bytes)"
        )


def _document(path: Path, source: str, digest: str, kind: Kind, text: str) -> Document:
    stem, place = shown(path.stem), shown(path)
    if kind == "table":
        table = table_of(text, "\t" if suffix_of(path) == ".tsv" else None)
        return Document(source, table, stem, source, place, syntax="markdown", digest=digest)
    if kind == "code":
        return Document(
            source, text, shown(path.name), source, place, {}, "code", first_line=1, digest=digest
        )
    if kind == "text":
        return Document(source, text, stem, source, place, first_line=1, digest=digest)
    block = front_matter(text if kind == "markdown" else "")
    if RESERVED in block.metadata:
        raise FileProblem(f"its front matter has {RESERVED!r}, which is kept for passages")
    body = text[block.end :] if kind == "markdown" else rst_to_markdown(text)
    title = block.metadata.get("title")
    return Document(
        source,
        body,
        title if isinstance(title, str) and title.strip() else first_heading(body) or stem,
        source,
        place,
        block.metadata,
        syntax="markdown",
        first_line=text.count("\n", 0, block.end) + 1,
        digest=digest,
    )


def _record(record: Record, source: str, place: str, digest: str) -> Document:
    return Document(
        f"{source}:{record.line}" if record.id is None else record.id,
        record.text,
        record.title,
        source,
        f"{place}:{record.line}",
        record.metadata,
        first_line=record.line,
        digest=digest,
        on_one_line=True,
    )


def source_of(path: Path, root: Path) -> str:
    """The path of a file relative to `root`, with "/"; an absolute path on another drive.

    A link keeps its own name and folder.
    """
    here = path.parent.resolve() / path.name
    try:
        return shown(Path(os.path.relpath(here, root.resolve())).as_posix())
    except ValueError:  # Windows: there is no way from one drive to another.
        return shown(here.as_posix())
