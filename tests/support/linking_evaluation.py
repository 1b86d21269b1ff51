"""Three texts with marked mentions, the options to evaluate with them, and a sentence encoder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onegen_model import OneGenModel, Passage
from onegen_model.cli import main
from tests.support.linking_model import ENTITIES, TEXT

RUN = ("--task", "linking", "--documents", "texts.jsonl", "--out", "run")
ALL = (*RUN, "--entities", "my.entities")
FEW = (*RUN, "--entity-file", "entities.jsonl")
RECORDS = [
    {"id": one.id, "name": one.title or one.text, "description": one.text if one.title else None}
    for one in ENTITIES
]


def mention(name: str, entity: str | None, *negatives: str, **more: Any) -> dict[str, Any]:
    start = TEXT.index(name)
    found = {"start": start, "end": start + len(name), "negatives": negatives, **more}
    return found | ({} if entity is None else {"entity_id": entity})


TEXTS = [
    {
        "id": "whole",
        "text": TEXT,
        "source": "people",
        "mentions": [
            mention("Ada Lovelace", "Q3", "Q4", kind="easy"),
            mention("Mount Kenya", "Q1", "Q2", kind="easy"),
            mention("Alan Turing", "Q4", kind="hard"),
            mention("London", "Q84"),
            mention("Danube", "Q5", "Q2", "Q1"),
        ],
    },
    {
        "id": "part",
        "text": TEXT,
        "annotation": "partial",
        "source": "silver",
        "mentions": [mention("Copenhagen", "Q6", "Q5", "Q9", kind="hard")],
    },
    {"id": "none", "text": "Nothing here.", "source": "people", "mentions": []},
]


class Words:
    """A sentence encoder that counts words."""

    fingerprint = "f" * 64
    dimension = 64
    max_passage_tokens = 256

    def __init__(self, _device: str, _folder: Path | None) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.full((len(texts), self.dimension), 0.01, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()):
                row[sum(word.encode()) % self.dimension] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def embed_passages(self, passages: Sequence[Passage], *, progress: bool = False) -> np.ndarray:
        return self.embed([one.titled_text for one in passages])


def evaluate(model: OneGenModel | None, *options: str) -> int:
    def load(_path: str | None, _dtype: str) -> OneGenModel:
        assert model is not None, "a model was loaded"
        return model

    return main(["evaluate", *options], load)
