"""Uploaded files to passages, by the way of every other index."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from onegen_integrations.server.stores.names import document_of
from onegen_integrations.server.stores.records import FileRecord, Problem, ProblemCode, StoreFile
from onegen_model import (
    Document,
    OneGenModel,
    Passage,
    PassageSplitter,
    ReadingOptions,
    read_documents,
)
from onegen_model.errors import InvalidInputError

# A file of records that is packed may unpack to more than any memory.
_MOST_CHARACTERS = 50_000_000
_READ = (
    "expected text, Markdown, HTML, PDF, docx, pptx, xlsx, csv, epub, ipynb, jsonl or source code"
)


class UnusableFileError(InvalidInputError):
    """An uploaded file cannot become passages; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class PassageSource:
    """One file of a vector store, and where its content lies."""

    store_id: str
    file: StoreFile
    record: FileRecord
    path: Path

    def passages(self, model: OneGenModel) -> list[Passage]:
        """All passages of the file; raises UnusableFileError."""
        splitter = PassageSplitter.for_model(model, self.file.max_tokens)
        passages: list[Passage] = []
        documents: set[str] = set()
        characters = 0
        for document in self._documents():
            characters += len(document.text)
            if characters > _MOST_CHARACTERS:
                self._refuse(f"its text has more than {_MOST_CHARACTERS} characters", "split it")
            own = self._own(document)
            if own.id in documents:
                self._refuse(f"two of its records have the id {document.id!r}", "rename one")
            documents.add(own.id)
            passages.extend(splitter.split(own))
        if not passages:
            self._refuse("it has no text", "upload a file with text")
        return passages

    def _documents(self) -> Iterable[Document]:
        failed: list[str] = []
        options = ReadingOptions(hidden=True, use_ignore_files=False)
        try:
            documents = read_documents(
                [self.path],
                root=self.path.parent,
                options=options,
                on_failure=lambda failure: failed.append(failure.reason),
            )
        except InvalidInputError:  # The file is looked at before anything is read.
            self._refuse("it is of an unknown kind", "convert it to text first")
        yield from documents
        if failed:
            self._refuse(failed[0], "upload another")

    def _own(self, document: Document) -> Document:
        """The document under the id and the name of the upload, with its attributes."""
        record = ""
        if document.id != document.source:
            line = document.id.removeprefix(f"{document.source}:")
            record = f":{line}" if line != document.id else f"/{document.id}"
        title = document.title
        if title in (self.path.stem, self.path.name):  # A title that only repeats the name.
            title = self.record.filename.removesuffix(self.path.suffix) or self.record.filename
            title = self.record.filename if document.title == self.path.name else title
        return replace(
            document,
            id=document_of(self.store_id, self.file.id, record),
            title=title,
            source=self.record.filename,
            metadata={**document.metadata, **self.file.attributes},
        )

    def _refuse(self, reason: str, advice: str) -> NoReturn:
        message = f"{self.record.filename} cannot be read: {reason}; {_READ}; {advice}"
        code: ProblemCode = "unsupported_file" if "unknown kind" in reason else "invalid_file"
        raise UnusableFileError(Problem(code, message))
