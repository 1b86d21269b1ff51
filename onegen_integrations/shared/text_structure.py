"""What a loader of this library knows of a text and a splitter needs, kept in flat metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from onegen_integrations.shared.places import KEY, nested_metadata
from onegen_model import Document

Syntax = Literal["text", "markdown", "code"]

_MARKDOWN = (".md", ".markdown")
# The text of such a file was converted, and its lines are not those of the file.
_CONVERTED = (
    *(".pdf", ".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".odt", ".rtf"),
    *(".html", ".htm", ".xhtml", ".epub", ".ipynb"),
)
# What loaders call the file of a document.
_FILE_KEYS = ("file_path", "source", "file_name")


@dataclass(frozen=True, slots=True)
class TextStructure:
    """How a text is read, and where it stands in its file; see `Document` of the core."""

    syntax: Syntax
    first_line: int | None = None
    pages: tuple[int, ...] = ()


def structure_text(document: Document, text: str, *, is_page: bool) -> str:
    """The value under `KEY` for a document, or for the text of one of its pages."""
    known: dict[str, Any] = {"syntax": document.syntax, "characters": len(text)}
    if not is_page:
        if document.first_line is not None:
            known["first_line"] = document.first_line
        if document.pages:
            known["pages"] = list(document.pages)
    return json.dumps(known)


def structure_of(text: str, metadata: Mapping[Any, Any]) -> TextStructure:
    """What the metadata say; without our own entry, what the name of the file says.

    Of a text that was changed after it was read, lines and pages are unknown.
    """
    kept = nested_metadata(metadata).get(KEY)
    known = kept if isinstance(kept, Mapping) else {}
    if known.get("syntax") not in get_args(Syntax):
        by_name = _by_name(file_of(metadata).lower())
        # A piece that is split again does not begin where its document begins.
        return TextStructure(by_name.syntax) if "document" in known else by_name
    if known.get("characters") != len(text):
        return TextStructure(known["syntax"])
    return TextStructure(known["syntax"], known.get("first_line"), tuple(known.get("pages", ())))


def file_of(metadata: Mapping[Any, Any]) -> str:
    """The file of a document as its loader names it; empty where it names none."""
    return next((str(metadata[key]) for key in _FILE_KEYS if metadata.get(key)), "")


def _by_name(file: str) -> TextStructure:
    syntax: Syntax = "markdown" if file.endswith(_MARKDOWN) else "text"
    return TextStructure(syntax, None if file.endswith(_CONVERTED) else 1)
