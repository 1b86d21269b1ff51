"""Shards of passages: where one ends, and its two files."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.events import Passage
from onegen_model.files import write_atomically
from onegen_model.retrieval.corpus import is_whole, passage_line
from onegen_model.retrieval.folders import writing
from onegen_model.retrieval.manifest import VECTORS, ShardFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """Passages that are written together; `content` is a digest of their titles and texts.

    `fragments` are the numbers of their vectors.
    """

    passages: Sequence[Passage]
    fragments: Sequence[int]
    content: str
    passages_file: str


def cut(
    passages: Sequence[Passage], size: int, fragments: Sequence[int] | None = None
) -> list[Shard]:
    """Shards of about `size` passages, never more than twice as many.

    The texts decide where a shard ends, so a passage that is added or removed changes the shard it
    is in, and hardly ever those behind it.
    """
    least = max(1, size // 2)
    counts = [1] * len(passages) if fragments is None else fragments
    shards: list[Shard] = []
    start, digests = 0, list[bytes]()
    for end, (passage, count) in enumerate(zip(passages, counts, strict=True), start=1):
        named = [passage.title, passage.text, *([count] if count != 1 else [])]
        digests.append(hashlib.sha256(json.dumps(named).encode()).digest())
        chosen = int.from_bytes(digests[-1][:8], "big") % (size - least + 1) == 0
        if (chosen and len(digests) >= least) or len(digests) == 2 * size or end == len(passages):
            shards.append(_shard(passages[start:end], counts[start:end], digests))
            start, digests = end, []
    return shards


def _shard(passages: Sequence[Passage], counts: Sequence[int], digests: Sequence[bytes]) -> Shard:
    lines = hashlib.sha256()
    for line in map(passage_line, passages, counts):
        lines.update(line.encode())
    content = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
    return Shard(passages, counts, content, f"passages-{lines.hexdigest()[:32]}.jsonl")


def write_passages(path: Path, shards: Sequence[Shard]) -> None:
    """Write the passage files that are not there yet."""
    for shard in shards:
        if not is_whole(path / shard.passages_file):
            lines = "".join(map(passage_line, shard.passages, shard.fragments))
            with writing(path):
                write_atomically(path / shard.passages_file, lines)


def find_missing(path: Path, shards: Sequence[Shard]) -> list[Shard]:
    """The shards without vectors on disk; damaged files are removed first."""
    vectors = vectors_by_content(path)
    for content in {shard.content for shard in shards} & vectors.keys():
        if not is_whole(vectors[content]):
            logger.warning("%s is damaged; its passages are embedded again", vectors[content])
            with writing(path):
                vectors.pop(content).unlink(missing_ok=True)
    return [shard for shard in shards if shard.content not in vectors]


def write_vectors(path: Path, shard: Shard, vectors: NDArray[Any]) -> str:
    """Write `vectors` (n, dimension), the rows of the shard's passages; returns the file's name."""
    content = io.BytesIO()
    np.save(content, vectors, allow_pickle=False)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()[:32]
    file = path / f"vectors-{shard.content}-{digest}.npy"
    if not is_whole(file):
        with writing(path):
            write_atomically(file, content.getbuffer())
    return file.name


def find_present(path: Path, shards: Sequence[Shard]) -> tuple[ShardFiles, ...]:
    """The shards whose files exist, by their names."""
    vectors = vectors_by_content(path)
    return tuple(
        ShardFiles(shard.passages_file, vectors[shard.content].name, len(shard.passages))
        for shard in shards
        if shard.content in vectors and (path / shard.passages_file).is_file()
    )


def vectors_by_content(path: Path) -> dict[str, Path]:
    """One file of vectors for each content, the same one for every process."""
    files = sorted(path.glob("vectors-*.npy"), reverse=True)
    return {file.name.split("-")[1]: file for file in files if VECTORS.fullmatch(file.name)}
