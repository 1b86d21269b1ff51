"""What all items of inputs and outputs have in common."""

import uuid
from collections.abc import Mapping
from typing import Any

Plain = dict[str, Any]


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}_{uuid.uuid4().hex}"


def without_results(item: Mapping[str, Any]) -> Plain:
    """An item as it is shown where nobody has asked for the results of searches."""
    return {**item, "results": None} if item.get("type") == "file_search_call" else dict(item)
