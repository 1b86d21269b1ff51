"""Metadata of documents as JSON, for messages and message stores."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json


def json_metadata(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy that strict JSON can hold, equal to `metadata` where it is JSON already.

    Dates become ISO text, numpy's values Python's, sets and tuples lists, bytes base64 text,
    NaN the text "NaN", and other values their `str`, integers of more than 64 bits among them:
    checkpoints of LangGraph cannot hold those.
    """
    return {str(name): _json_value(value) for name, value in metadata.items()}


def json_title(metadata: Mapping[Any, Any]) -> str:
    """The `title` of a document as text; empty where there is none or it is None."""
    title = metadata.get("title")
    return "" if title is None else str(title)


def _json_value(value: object) -> Any:
    try:
        written = to_json(value, fallback=_plain, inf_nan_mode="strings", bytes_mode="base64")
        return _with_small_integers(from_json(written, allow_inf_nan=False))
    except (PydanticSerializationError, ValueError):
        # Half a surrogate pair, or a value that contains itself.
        return str(value).encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> object:
    # numpy and torch call it so; neither has to be installed.
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _with_small_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_small_integers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_small_integers(one) for one in value]
    return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else str(value)
