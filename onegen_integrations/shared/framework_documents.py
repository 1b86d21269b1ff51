"""Documents of files in the form that both frameworks take: a text and flat metadata."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from onegen_model import Document, FailedFile, ReadingOptions, read_documents

Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class FrameworkDocument:
    """A file, a record or a page; `metadata` holds `source`, `title` and the user's own."""

    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FolderReading:
    """What a loader of LangChain and a reader of LlamaIndex are told about reading."""

    root: str | os.PathLike[str] | None
    options: ReadingOptions | None
    by_page: bool
    skip_bad: bool

    def documents(self, paths: Paths, failures: list[FailedFile]) -> Iterator[FrameworkDocument]:
        """One after another; `failures` takes the files that are skipped."""
        failures.clear()
        read = read_documents(
            [paths] if isinstance(paths, str | os.PathLike) else paths,
            root=self.root,
            options=self.options,
            on_failure=failures.append if self.skip_bad else None,
        )
        for document in read:
            yield from _pages(document) if self.by_page else [_whole(document)]


def _whole(document: Document) -> FrameworkDocument:
    number = {"pages": len(document.pages)} if document.pages else {}
    return FrameworkDocument(document.id, document.text, _metadata(document, number))


def _pages(document: Document) -> Iterator[FrameworkDocument]:
    if not document.pages:
        yield _whole(document)
    ends = (*document.pages[1:], len(document.text))
    for number, (start, end) in enumerate(zip(document.pages, ends, strict=False), 1):
        if text := document.text[start:end].strip():
            metadata = _metadata(document, {"page": number, "pages": len(document.pages)})
            yield FrameworkDocument(f"{document.id}:p{number}", text, metadata)


def _metadata(document: Document, page: dict[str, int]) -> dict[str, Any]:
    """The user's own values stay, also under our names."""
    title = {"title": document.title} if document.title else {}
    return {"source": document.source, **title, **page, **document.metadata}
