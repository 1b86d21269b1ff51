"""Entities as passages: the title is the name, the text is the description."""

from collections.abc import Mapping
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage

# The first of each group that a record has is used. A title tells more than a name: that of a
# Wikipedia article is unique.
_NAMES = ("wiki_title", "title", "name")
_DESCRIPTIONS = ("description", "text")


def entity_passage(plain: Mapping[str, Any]) -> Passage:
    """The passage of a record with an id, a name and, optionally, a description.

    Without a description the text is the name. Other fields become metadata, and so does a name
    that is not the title. Raises InvalidInputError.
    """
    identifier = plain.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise InvalidInputError("an entity has no id; expected a text or a number; add `id`")
    name = _first(plain, _NAMES)
    if not name:
        raise InvalidInputError(
            f"entity {str(identifier)!r} has no name; expected one of {', '.join(_NAMES)}; add it"
        )
    description = _first(plain, _DESCRIPTIONS)
    used = {"id", *_NAMES, *_DESCRIPTIONS}
    metadata = {key: value for key, value in plain.items() if key not in used}
    if (own := plain.get("name")) and own != name:
        metadata["name"] = own
    if not description:
        return Passage(str(identifier), name, metadata=metadata)
    return Passage(str(identifier), description, name, metadata)


def entity_name(entity: Passage) -> str:
    """The name of an entity that `entity_passage` made."""
    return entity.title or entity.text


def _first(plain: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first text under `keys` that is not blank, or ""."""
    found = (plain.get(key) for key in keys)
    return next((one.strip() for one in found if isinstance(one, str) and one.strip()), "")
