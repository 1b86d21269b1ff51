"""Metadata of documents as JSON, for messages and message stores."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json


def json_metadata(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy that strict JSON can hold, equal to `metadata` where it is JSON already.

    Dates become ISO text, numpy's values Python's, sets and tuples lists, bytes base64 text,
    NaN the text "NaN", and other values their `str`.
    """
    return {str(name): _json_value(value) for name, value in metadata.items()}


def json_title(metadata: Mapping[Any, Any]) -> str:
    """The `title` of a document as text; empty where there is none or it is None."""
    title = metadata.get("title")
    return "" if title is None else str(title)


def _json_value(value: object) -> Any:
    try:
        written = to_json(value, fallback=_plain, inf_nan_mode="strings", bytes_mode="base64")
        return from_json(written, allow_inf_nan=False)
    except (PydanticSerializationError, ValueError):
        # Half a surrogate pair, or a value that contains itself.
        return str(value).encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> object:
    # numpy and torch call it so; neither has to be installed.
    return value.tolist() if hasattr(value, "tolist") else str(value)
