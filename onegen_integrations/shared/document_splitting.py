"""Documents of frameworks to passages, whose places become flat metadata."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onegen_integrations.shared.json_values import json_title
from onegen_integrations.shared.places import KEY, place_names, place_text
from onegen_integrations.shared.text_structure import Syntax, file_of, structure_of
from onegen_model import Document, Passage, PassagePlace, PassageSplitter, place_of
from onegen_model.errors import InvalidInputError


def split_document(
    splitter: PassageSplitter,
    text: str,
    metadata: Mapping[Any, Any],
    syntax: Syntax | None,
    document_id: str = "document",
) -> list[Passage]:
    """The passages of a text; its `title` and what is known of its file are in `metadata`."""
    known = structure_of(text, metadata)
    return splitter.split(
        Document(
            document_id,
            text,
            json_title(metadata),
            source=document_id,
            place=document_id,
            syntax=syntax or known.syntax,
            first_line=known.first_line,
            pages=known.pages,
        )
    )


def flat_place(passage: Passage, metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """The place of a passage of a document with this metadata, as texts and numbers.

    `headings` are joined by " > ", because stores keep no lists in metadata; `lines` are left out
    where the text has become one passage.
    """
    place = known_place(passage)
    place = replace(place, source=file_of(metadata))
    names, flat = place_names(place), {KEY: place_text(place)}
    if place.headings:
        flat["headings"] = " > ".join(place.headings)
    if place.chunks == 1:
        names.pop("lines", None)
    shown = ("page", "page_label", "lines")
    return flat | {name: names[name] for name in shown if name in names}


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
