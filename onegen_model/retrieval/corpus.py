"""Passages and their vectors on disk, as `onegen embed` and PassageIndex.save write them.

A folder of shards, two files each. `vectors-<content>-<sum>.npy` is named after the titles and
texts it was made from and after its own bytes, `passages-<sum>.jsonl` after its own bytes, so that
the content of a file can be checked by its name. `manifest.json` records how the vectors were made
and, when all shards are written, names them in the order of the passages. It is replaced last, as a
whole: a process that is killed does not change the corpus.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.files import sha256_of
from onegen_model.jsonl import read_lines, to_line
from onegen_model.retrieval.manifest import (
    PASSAGES,
    VECTORS,
    EmbeddingSpec,
    Manifest,
    ShardFiles,
    damaged,
    read_manifest,
)

# Passages and unit vectors (n, dimension), row by row; a passage with several vectors is repeated.
Batch = tuple[list[Passage], NDArray[np.float32]]

_FIELDS = tuple(field.name for field in fields(Passage))


@dataclass(frozen=True, slots=True)
class EmbeddedCorpus:
    """Passages with their unit vectors, to be loaded into any index without embedding again.

    `len` is the number of passages. Only the manifest is held in memory.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | PathLike[str], *, fingerprint: str | None = None) -> "EmbeddedCorpus":
        """Open a folder of `onegen embed`, `onegen index` or PassageIndex.save.

        Raises PassageIndexError if it is missing, unfinished, or not of the model with this
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
        if manifest.shards is None:
            raise PassageIndexError(
                f"The embedded corpus {path} is not finished; expected all of its shards; run the "
                "same `onegen embed` again, which embeds the rest"
            )
        return cls(path, manifest)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that made the vectors."""
        return self.manifest.made.fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.manifest.made.dimension

    def __len__(self) -> int:
        return sum(shard.count for shard in self.manifest.shards or ())

    def passages(self) -> Iterator[Passage]:
        """All passages, without their vectors; raises PassageIndexError at a damaged shard."""
        for shard in self.manifest.shards or ():
            try:
                yield from (passage for passage, _ in read_passages(self.path / shard.passages))
            except (OSError, TypeError, ValueError) as error:
                raise damaged(self.path, f"cannot be read ({error})") from error

    def batches(self, size: int = 1000) -> Iterator[Batch]:
        """At most `size` float32 unit vectors (n, dimension) at a time with their passages, in the
        order of the corpus. A passage with several vectors is repeated, and never split over two
        batches. Raises PassageIndexError at a damaged shard.
        """
        if size < 1:
            raise InvalidInputError(f"size={size}; expected at least 1; change size")
        for shard in self.manifest.shards or ():
            yield from split_rows(*_read_shard(self.path, self.manifest.made, shard), size)


def open_corpus(path: Path, fingerprint: str, dimension: int) -> EmbeddedCorpus:
    """Open a corpus of the model with this fingerprint and dimension; raises PassageIndexError."""
    corpus = EmbeddedCorpus.open(path, fingerprint=fingerprint)
    if corpus.dimension != dimension:
        raise PassageIndexError(
            f"{path} holds vectors of dimension {corpus.dimension}; expected {dimension}, as this "
            "model writes them; use its own model, or embed the documents again"
        )
    return corpus


def split_rows(passages: list[Passage], vectors: NDArray[np.float32], size: int) -> Iterator[Batch]:
    """Batches of at most `size` rows; the rows of one passage adjoin and stay together."""
    start = 0
    while start < len(passages):
        end = min(start + size, len(passages))
        while end < len(passages) and passages[end].id == passages[end - 1].id:
            end -= 1
            if end == start:  # One passage may have more vectors than `size`.
                end = start + size
                while end < len(passages) and passages[end].id == passages[start].id:
                    end += 1
                break
        yield passages[start:end], vectors[start:end]
        start = end


def passage_line(passage: Passage, fragments: int = 1) -> str:
    """One line of a passage file; raises TypeError or ValueError for values outside JSON."""
    plain = {name: getattr(passage, name) for name in _FIELDS}
    if fragments != 1:
        plain["fragments"] = fragments
    return to_line(plain)


def read_passages(file: Path) -> Iterator[tuple[Passage, int]]:
    """The passages of one shard, each with its number of vectors."""
    for plain in read_lines(file):
        fragments = int(plain.pop("fragments", 1))
        yield Passage(**plain), fragments


def _read_shard(path: Path, made: EmbeddingSpec, shard: ShardFiles) -> Batch:
    for name, expected in zip((shard.passages, shard.vectors), shard.sums, strict=True):
        if not (path / name).is_file():
            raise damaged(path, f"lacks {name}")
        if not is_whole(path / name, expected):
            raise damaged(path, f"holds {name} damaged")
    try:
        pairs = list(read_passages(path / shard.passages))
        vectors = np.load(path / shard.vectors, allow_pickle=False)
    except (OSError, TypeError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    passages = [passage for passage, fragments in pairs for _ in range(fragments)]
    if vectors.shape != (len(passages), made.dimension) or len(pairs) != shard.count:
        raise damaged(path, f"has another number of vectors in {shard.vectors} than passages")
    return passages, vectors.astype(np.float32, copy=False)


def is_whole(file: Path, expected: str = "") -> bool:
    """Whether a shard's file has the bytes it is named after, or those of an `expected` digest."""
    named = PASSAGES.fullmatch(file.name) or VECTORS.fullmatch(file.name)
    wanted = expected or (named.group(1) if named else "")
    try:
        return bool(wanted) and sha256_of(file).startswith(wanted)
    except OSError:
        return False
