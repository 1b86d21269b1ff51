"""Paragraphs that were gold in training, so that scores can be split by familiarity."""

import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.jsonl import JsonLines

_PIECE = re.compile(r"(?<=.)#\d+$")


def read_training_gold(paths: Iterable[str | PathLike[str]]) -> frozenset[str]:
    """Ids of gold paragraphs, from question files or training transcripts."""
    return frozenset(paragraph for path in map(Path, paths) for paragraph in _gold_of(path))


def _gold_of(path: Path) -> Iterator[str]:
    lines = JsonLines(path)
    for index, row in enumerate(lines):
        try:
            yield from _gold_of_row(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{lines.where(index)}: no gold paragraphs ({type(error).__name__}: {error}); "
                "expected `supporting`, `hops` or `segments` with positives; name another file"
            ) from error


def _gold_of_row(row: Mapping[str, Any]) -> list[str]:
    if row.get("answerable") is False:
        return []
    if "segments" not in row:
        found = row.get("supporting") or [hop["paragraph_id"] for hop in row["hops"]]
        return [str(paragraph) for paragraph in found]
    targets = [segment["target"] for segment in row["segments"] if segment.get("target")]
    # Where no retrieval is trained, the inserted passages hold the gold among distractors.
    names = [n for one in targets for n in one.get("positives") or one.get("inserted", ())]
    # A transcript names pieces of paragraphs: "<paragraph>#<n>".
    return [_PIECE.sub("", name) for name in names if isinstance(name, str)]
