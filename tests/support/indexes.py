"""Passages for an index, queries for them, and the ids of found passages."""

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

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


def write_version_1(path: Path, passages: Sequence[Passage], vectors: np.ndarray) -> None:
    """An index as release 0.1 saved it; the last passage has the rows that are left."""
    path.mkdir()
    fragments = [1] * (len(passages) - 1) + [1 + len(vectors) - len(passages)]
    lines = [
        {**asdict(passage), **({"fragments": count} if count != 1 else {})}
        for passage, count in zip(passages, fragments, strict=True)
    ]
    files = [path / "vectors-0123456789ab.npy", path / "passages-0123456789ab.jsonl"]
    np.save(files[0], vectors)
    files[1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = {
        "format": "onegen-passage-index",
        "version": 1,
        "fingerprint": "f" * 64,
        "dimension": 8,
        "passages": len(passages),
        "vectors": len(vectors),
        "files": {
            file.name: {
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in files
        },
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
