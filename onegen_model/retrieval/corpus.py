"""A corpus with its vectors, as `onegen embed` leaves it: what is on disk, and how it is read.

A folder of shards, two files each. `vectors-<content>-<sum>.npy` is named after the titles and
texts it was made from and after its own bytes, `passages-<sum>.jsonl` after its own bytes: what is
there can be told to be right and whole, whoever wrote it and whatever was killed. `manifest.json`
says from the start how the vectors are made, and names the shards, in the order of the corpus, once
all are there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.retrieval.index_files import MANIFEST

PASSAGES = re.compile(r"passages-([0-9a-f]{32})\.jsonl")
VECTORS = re.compile(r"vectors-[0-9a-f]{32}-([0-9a-f]{32})\.npy")
_FORMAT = "onegen-embedded-corpus"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """What all shards of a corpus have in common; `stored_as` is the vectors' dtype on disk."""

    fingerprint: str
    dimension: int
    max_passage_tokens: int
    dtype: str
    stored_as: str
    shard_size: int


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The names of a shard's files, and how many passages it has."""

    passages: str
    vectors: str
    count: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Without shards the corpus was never finished."""

    made: EmbeddingSpec
    shards: tuple[ShardFiles, ...] = ()

    def to_json(self) -> bytes:
        """The content of the file."""
        plain = {
            "format": _FORMAT,
            "version": _VERSION,
            **asdict(self.made),
            "passages": sum(shard.count for shard in self.shards),
            "shards": [asdict(shard) for shard in self.shards],
        }
        return json.dumps(plain, indent=1).encode()


@dataclass(frozen=True, slots=True)
class EmbeddedCorpus:
    """Passages and their unit vectors, to be loaded into any index without embedding again.

    `len` is the number of passages. Nothing but the manifest is held in memory.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | PathLike[str], *, fingerprint: str | None = None) -> "EmbeddedCorpus":
        """Raises PassageIndexError if it is missing, unfinished, or not of the model with this
        `fingerprint` (None: any model).
        """
        path = Path(path)
        manifest = read_manifest(path)
        made_by = manifest.made.fingerprint
        if fingerprint not in (None, made_by):
            raise PassageIndexError(
                f"{path} was embedded by another model (fingerprint {made_by[:12]}…); expected "
                f"{fingerprint[:12]}…; use its own model, or embed the documents again"
            )
        if not manifest.shards:
            raise PassageIndexError(
                f"The embedded corpus {path} is not finished; expected all of its shards; run the "
                "same `onegen embed` again, which goes on with what is missing"
            )
        return cls(path, manifest)

    @property
    def fingerprint(self) -> str:
        """That of the model whose vectors these are."""
        return self.manifest.made.fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.manifest.made.dimension

    def __len__(self) -> int:
        return sum(shard.count for shard in self.manifest.shards)

    def batches(self, size: int = 1000) -> Iterator[tuple[list[Passage], NDArray[np.float32]]]:
        """At most `size` passages at a time, in the order of the corpus, with float32 unit vectors
        (n, dimension). Raises PassageIndexError when it comes to a shard that is damaged.
        """
        if size < 1:
            raise InvalidInputError(f"size={size}; expected at least 1; change size")
        for shard in self.manifest.shards:
            passages, vectors = _read_shard(self.path, self.manifest.made, shard)
            for start in range(0, len(passages), size):
                yield passages[start : start + size], vectors[start : start + size]


def is_embedded(path: Path) -> bool:
    """Whether `onegen embed` has written there; it may be unfinished, damaged or of any model."""
    try:
        plain = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(plain, dict) and plain.get("format") == _FORMAT


def read_manifest(path: Path) -> Manifest:
    """Raises PassageIndexError if it is missing, damaged or of another version."""
    if not is_embedded(path):
        raise PassageIndexError(
            f"{path} is not an embedded corpus; expected a folder that `onegen embed` wrote; check "
            "the path"
        )
    plain = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if plain.get("version") != _VERSION:
        raise PassageIndexError(
            f"{path} has format version {plain.get('version')}; expected {_VERSION}; use the "
            "OneGen that wrote it, or embed the documents again into another folder"
        )
    try:
        manifest = _parse(plain)
    except (KeyError, TypeError) as error:
        raise damaged(path, f"has an incomplete {MANIFEST}") from error
    for shard in manifest.shards:
        if not PASSAGES.fullmatch(shard.passages) or not VECTORS.fullmatch(shard.vectors):
            raise damaged(path, f"names files in {MANIFEST} that are not its own")
    return manifest


def _parse(plain: dict[str, Any]) -> Manifest:
    made = EmbeddingSpec(**{field.name: plain[field.name] for field in fields(EmbeddingSpec)})
    return Manifest(made, tuple(ShardFiles(**shard) for shard in plain["shards"]))


def _read_shard(
    path: Path, made: EmbeddingSpec, shard: ShardFiles
) -> tuple[list[Passage], NDArray[np.float32]]:
    for name in (shard.passages, shard.vectors):
        if not is_whole(path / name):
            raise damaged(path, f"lacks {name}, or holds it damaged")
    passages = list(read_passages(path / shard.passages))
    vectors = np.load(path / shard.vectors, allow_pickle=False)
    if vectors.shape != (len(passages), made.dimension) or len(passages) != shard.count:
        raise damaged(path, f"has another number of vectors in {shard.vectors} than passages")
    return passages, vectors.astype(np.float32, copy=False)


def read_passages(file: Path) -> Iterator[Passage]:
    """The passages of one shard."""
    with file.open(encoding="utf-8") as lines:
        yield from (Passage(**json.loads(line)) for line in lines)


def is_whole(file: Path) -> bool:
    """Whether a shard's file is there, with the bytes it is named after."""
    named = PASSAGES.fullmatch(file.name) or VECTORS.fullmatch(file.name)
    try:
        return named is not None and named.group(1) == digest(file)
    except OSError:
        return False


def digest(file: Path) -> str:
    """What a shard's file is named after."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def damaged(path: Path, what: str) -> PassageIndexError:
    """The error for a folder that is not as it was left."""
    return PassageIndexError(
        f"The embedded corpus {path} {what}; expected it as `onegen embed` left it; run the same "
        "`onegen embed` again, which makes what is missing"
    )
