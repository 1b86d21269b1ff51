"""Files to passages: everything is read and checked before the first passage is embedded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from onegen_model.documents.failures import FailedFile, UnreadableFilesError
from onegen_model.documents.options import ReadingOptions
from onegen_model.documents.reading import FileReader, source_of
from onegen_model.documents.splitting import PassageSplitter
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.progress import ShouldStop, show_progress
from onegen_model.retrieval.embedding import Embedder


class DocumentModel(Embedder, Protocol):
    """The part of a model that splits and embeds documents."""

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, as `max_passage_tokens` counts them."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """The passages of all files that have been read; an index holds exactly these of `sources`.

    `unread` is the number of files that are left after a stop.
    """

    root: Path
    passages: list[Passage] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    failures: list[FailedFile] = field(default_factory=list)
    unread: int = 0


@dataclass(frozen=True, slots=True)
class _FilePassages:
    """The passages of one file, and the ids and places of its documents."""

    passages: list[Passage] = field(default_factory=list)
    documents: list[tuple[str, str]] = field(default_factory=list)


class PassageReader:
    """Reads files as passages of one model; as a context it ends the process of its converter."""

    def __init__(self, model: DocumentModel, options: ReadingOptions | None = None) -> None:
        self._files = FileReader(options)
        self._splitter = PassageSplitter.for_model(model)
        self._known: dict[str, _FilePassages] = {}
        self._places: dict[str, str] = {}  # of documents, by id

    def __enter__(self) -> "PassageReader":
        self._files.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._files.__exit__(None, None, None)

    def sample(self, file: Path, source: str) -> list[Passage]:
        """The passages of a file, which is not read a second time; none if it cannot be read."""
        try:
            self._known[source] = self._read(file, source)
        except UnreadableFilesError:  # Reading all files reports it.
            return []
        return self._known[source].passages

    def read(self, file: Path, source: str) -> list[Passage]:
        """Raises UnreadableFilesError, and InvalidInputError for an id that is taken."""
        found = self._known.pop(source, None) or self._read(file, source)
        for document, place in found.documents:
            earlier = self._places.setdefault(document, place)
            if earlier != place:
                raise InvalidInputError(
                    f"{place} has the same id {document!r} as {earlier}; expected one of each; "
                    "rename one"
                )
        return found.passages

    def _read(self, file: Path, source: str) -> "_FilePassages":
        found = _FilePassages()
        for document in self._files.read(file, source):
            found.documents.append((document.id, document.place))
            found.passages.extend(self._splitter.split(document))
        return found


def read_changed(
    reader: PassageReader,
    files: Mapping[str, Path],
    root: Path,
    *,
    progress: bool | None = False,
    should_stop: ShouldStop | None = None,
) -> Reading:
    """Read files by their sources; those that cannot be read become failures."""
    reading = Reading(root)
    with show_progress(len(files), "Reading", "file", progress) as shown:
        for number, (source, file) in enumerate(files.items()):
            if should_stop and should_stop():
                return replace(reading, unread=len(files) - number)
            try:
                reading.passages.extend(reader.read(file, source))
                reading.sources.add(source)
            except UnreadableFilesError as error:
                reading.failures.extend(error.failures)
            shown.update(1)
    return reading


def read_passages(
    model: DocumentModel,
    files: Sequence[Path],
    root: Path,
    *,
    options: ReadingOptions | None = None,
    progress: bool | None = False,
) -> Reading:
    """Raises InvalidInputError for files that cannot be read, or two documents of one id."""
    with PassageReader(model, options) as reader:
        sources = {source_of(file, root): file for file in files}
        reading = read_changed(reader, sources, root, progress=progress)
    require_readable(reading.failures)
    return reading


def require_readable(failures: Iterable[FailedFile]) -> None:
    """Raise UnreadableFilesError, which names all failures, if there are any."""
    if failures := tuple(failures):
        raise UnreadableFilesError(failures)


def require_some(reading: Reading) -> None:
    """Raise InvalidInputError without passages."""
    if not reading.passages:
        raise InvalidInputError(
            "All documents are empty; expected some text; choose other files or folders"
        )
