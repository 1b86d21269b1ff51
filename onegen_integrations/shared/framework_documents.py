"""Documents of files in the form that both frameworks take: a text and flat metadata."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from onegen_integrations.shared.places import KEY
from onegen_integrations.shared.text_structure import structure_text
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
    """What a loader of LangChain and a reader of LlamaIndex are told about reading.

    `keeps_lists`: whether the stores of the framework take lists of values of one type.
    """

    root: str | os.PathLike[str] | None
    options: ReadingOptions | None
    by_page: bool
    skip_bad: bool
    keeps_lists: bool

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
            given = {name: self._flat(value) for name, value in document.metadata.items()}
            flat = replace(document, metadata=given)
            yield from _pages(flat) if self.by_page else [_whole(flat)]

    def _flat(self, value: Any) -> Any:
        """A value as stores take it: what is no text, number or list of those becomes JSON text."""
        if value is None or isinstance(value, str | int | float):
            return value
        kinds = set(map(type, value)) if isinstance(value, list) else set()
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return value if self.keeps_lists else ", ".join(map(str, value))
        return json.dumps(value, ensure_ascii=False, default=str)


def _whole(document: Document) -> FrameworkDocument:
    number = {"pages": len(document.pages)} if document.pages else {}
    known = {**number, KEY: structure_text(document, document.text, is_page=False)}
    return FrameworkDocument(document.id, document.text, _metadata(document, known))


def _pages(document: Document) -> Iterator[FrameworkDocument]:
    if not document.pages:
        yield _whole(document)
    ends = (*document.pages[1:], len(document.text))
    for number, (start, end) in enumerate(zip(document.pages, ends, strict=False), 1):
        if text := document.text[start:end].strip():
            page = {"page": number - 1, "page_label": str(number), "pages": len(document.pages)}
            known = {**page, KEY: structure_text(document, text, is_page=True)}
            yield FrameworkDocument(f"{document.id}:p{number}", text, _metadata(document, known))


def _metadata(document: Document, known: dict[str, Any]) -> dict[str, Any]:
    """The user's own values stay, also under our names."""
    title = {"title": document.title} if document.title else {}
    return {"source": document.source, **title, **known, **document.metadata}
