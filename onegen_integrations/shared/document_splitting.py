"""Documents of frameworks to passages, whose places become flat metadata."""

from collections.abc import Mapping
from typing import Any, Literal

from onegen_integrations.shared.json_values import json_title
from onegen_model import Document, Passage, PassagePlace, PassageSplitter, place_of
from onegen_model.errors import InvalidInputError

Syntax = Literal["text", "markdown", "code"]

_MARKDOWN = (".md", ".markdown")
# What loaders call the file of a document.
_FILE_KEYS = ("file_name", "file_path", "source")


def split_document(
    splitter: PassageSplitter,
    text: str,
    metadata: Mapping[Any, Any],
    syntax: Syntax | None,
    document_id: str = "document",
) -> list[Passage]:
    """The passages of a text; its `title` and, without a `syntax`, its file are in `metadata`."""
    return splitter.split(
        Document(
            document_id,
            text,
            json_title(metadata),
            source=document_id,
            place=document_id,
            syntax=syntax or _syntax_of(metadata),
            first_line=1,
        )
    )


def flat_place(passage: Passage) -> dict[str, Any]:
    """`headings` joined by " > ", and `lines` ("3-9") where the text has become several passages.

    Stores keep no lists in metadata.
    """
    place = known_place(passage)
    flat: dict[str, Any] = {}
    if place.headings:
        flat["headings"] = " > ".join(place.headings)
    if place.lines and place.chunks > 1:
        flat["lines"] = "{}-{}".format(*place.lines)
    return flat


def known_place(passage: Passage) -> PassagePlace:
    """The place that the splitter gave a passage."""
    return place_of(passage) or PassagePlace(passage.id, passage.id)


def require_length(chosen: int | None, longest: int) -> int:
    """The length of passages; raises InvalidInputError for one that the model cannot embed."""
    if chosen is None:
        return longest
    if not 0 < chosen <= longest:
        raise InvalidInputError(
            f"chunk_size={chosen}; expected at most {longest}, the longest passage of the model, "
            "and at least 1; change it"
        )
    return chosen


def _syntax_of(metadata: Mapping[Any, Any]) -> Syntax:
    names = [str(metadata[key]).lower() for key in _FILE_KEYS if metadata.get(key)]
    return "markdown" if any(name.endswith(_MARKDOWN) for name in names) else "text"
