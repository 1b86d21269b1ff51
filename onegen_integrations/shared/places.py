"""The place of a passage in the metadata of a document, flat as most stores require it.

The place itself is one text, under the key that is reserved in the core too, so that it comes back
as it was. Beside it stand the names that users of the frameworks know; where the user has such a
name, it keeps the user's value.
"""

import json
from collections.abc import Mapping
from typing import Any

from onegen_model import Passage, PassagePlace, place_of

KEY = "onegen"
PLACE_NAMES = ("source", "page", "page_label", "lines", "start_index", "end_index")


def flat_metadata(passage: Passage) -> dict[str, Any]:
    """The metadata of a passage with its place as texts and numbers."""
    place, kept = place_of(passage), passage.metadata.get(KEY)
    flat = dict(passage.metadata)
    if isinstance(kept, Mapping):
        flat[KEY] = _text(kept)
    return {**place_names(place), **flat} if place else flat


def own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`nested_metadata` without the names that say what the place says.

    `flat_metadata` adds them again, for the place that the passage has then: a passage that was
    widened or cut stands elsewhere than its document.
    """
    nested = nested_metadata(metadata)
    place = place_of(Passage("", "", "", nested))
    names = place_names(place) if place else {}
    return {name: value for name, value in nested.items() if names.get(name) != value}


def place_text(place: PassagePlace) -> str:
    """A place as it lies under `KEY`."""
    return _text(place.to_metadata()[KEY])


def _text(kept: Mapping[str, Any]) -> str:
    return json.dumps(kept, ensure_ascii=False)


def nested_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flat_metadata`, apart from the names that it has added."""
    nested, kept = dict(metadata), metadata.get(KEY)
    if isinstance(kept, str):
        try:
            plain = json.loads(kept)
        except ValueError:
            return nested
        if isinstance(plain, dict):
            nested[KEY] = plain
    return nested


def place_names(place: PassagePlace) -> dict[str, Any]:
    """`source`, `page` (from 0) and `page_label` (from 1), `lines`, `start_index`, `end_index`."""
    names: dict[str, Any] = {"source": place.source} if place.source else {}
    if place.pages:
        names |= {"page": place.pages[0] - 1, "page_label": _numbered(place.pages)}
    if place.lines:
        names["lines"] = _numbered(place.lines)
    if place.span:
        names |= {"start_index": place.span[0], "end_index": place.span[1]}
    return names


def _numbered(numbers: tuple[int, int]) -> str:
    first, last = numbers
    return str(first) if first == last else f"{first}-{last}"
