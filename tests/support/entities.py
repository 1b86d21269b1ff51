"""Records of entities, a model that cuts descriptions, and a published pickle of embeddings."""

import gzip
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from onegen_model import Passage
from tests.support.fake_model import FakeModel


class EntityModel(FakeModel):
    """A token is a word; a passage of more than 40 is cut."""

    can_link = True

    def fragments(self, passage: Passage) -> Iterator[Passage]:
        words = passage.text.split()
        most = self.max_passage_tokens - len(passage.title.split())
        for start in range(0, len(words), most):
            text = passage.text if len(words) <= most else " ".join(words[start : start + most])
            yield replace(passage, text=text)


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Every third has no description, and their lengths differ."""
    return [
        {
            "id": f"Q{n}",
            "name": f"name {n}",
            "description": None if n % 3 == 0 else f"thing {n}" + " word" * (n % 7),
            "types": ["thing"],
        }
        for n in range(start, start + count)
    ]


def write_records(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_published(path: Path, rows: torch.Tensor, ids: object) -> Path:
    """As the code of OneGen writes it."""
    with path.open("wb") as file:
        pickle.dump((rows, ids), file)
    return path
