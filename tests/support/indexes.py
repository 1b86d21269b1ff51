"""Passages to index, queries for them, and the ids of what was found."""

from array import array
from typing import Any

from onegen_model.events import Passage, Query, ScoredPassage
from tests.support.fake_embedder import unit


def passages(count: int, start: int = 0) -> list[Passage]:
    return [
        Passage(str(n), f"text {n}", f"title {n}", {"lang": "en" if n % 3 else "de", "year": n % 5})
        for n in range(start, start + count)
    ]


def query(text: str, top_k: int = 3, **options: Any) -> Query:
    return Query(array("f", unit(text)), text, top_k, **options)


def ids(found: list[ScoredPassage]) -> list[str]:
    return [scored.passage.id for scored in found]
