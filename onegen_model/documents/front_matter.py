"""The block of YAML at the top of a Markdown text."""

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_BLOCK = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
# A longer block is no front matter.
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a text says about itself, and where it goes on."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    end: int = 0


def front_matter(text: str) -> FrontMatter:
    """Empty for a text that has none, or none that can be read: it stays in the text then.

    Plain values and lists of plain values are kept; dates and times in ISO format.
    """
    found = _BLOCK.match(text, 0, _LONGEST)
    if not found:
        return FrontMatter()
    try:
        plain = yaml.safe_load(found.group(1))
    except (yaml.YAMLError, ValueError, RecursionError):
        return FrontMatter()
    if not isinstance(plain, dict):
        return FrontMatter()
    values = {_sound(str(name)): _plain(value) for name, value in plain.items()}
    kept = {name: value for name, value in values.items() if value is not None}
    return FrontMatter(kept, found.end())


def _sound(text: str) -> str:
    """Without halves of surrogate pairs, which YAML can escape and JSON files cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _plain(value: object) -> str | int | float | list[Any] | None:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list):
        items = [_plain(item) for item in value if not isinstance(item, list)]
        return [item for item in items if item is not None] or None
    return None
