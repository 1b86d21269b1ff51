"""Making an embedded corpus, shard by shard; several processes may do so in one folder.

Each file is written under another name first, so a process that is killed leaves nothing that could
be taken for a shard. The manifest is replaced last: a corpus that is embedded again stays readable
as it was until the new one is whole.
"""

import hashlib
import io
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.retrieval.corpus import (
    PASSAGES,
    VECTORS,
    EmbeddingSpec,
    Manifest,
    ShardFiles,
    digest,
    is_embedded,
    is_whole,
    read_manifest,
    read_passages,
)
from onegen_model.retrieval.index_files import MANIFEST, passage_line

logger = logging.getLogger(__name__)

_STAGED = re.compile(r"\.[0-9a-f]{32}\.staged")
_STALE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Shard:
    """Passages that are embedded together; `content` is a digest of their titles and texts."""

    passages: Sequence[Passage]
    content: str
    passages_file: str


def cut(passages: Sequence[Passage], size: int) -> list[Shard]:
    """Shards of about `size` passages, never more than twice as many.

    Where one ends is decided by the texts around, so a passage that is added or removed changes
    the shard it is in, and hardly ever those behind it.
    """
    least = max(1, size // 2)
    shards: list[Shard] = []
    start, digests = 0, list[bytes]()
    for end, passage in enumerate(passages, start=1):
        text = json.dumps([passage.title, passage.text])
        digests.append(hashlib.sha256(text.encode()).digest())
        chosen = int.from_bytes(digests[-1][:8], "big") % (size - least + 1) == 0
        if (chosen and len(digests) >= least) or len(digests) == 2 * size or end == len(passages):
            shards.append(_shard(passages[start:end], digests))
            start, digests = end, []
    return shards


def _shard(passages: Sequence[Passage], digests: Sequence[bytes]) -> Shard:
    lines = hashlib.sha256()
    for passage in passages:
        lines.update(passage_line(passage).encode())
    content = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
    return Shard(passages, content, f"passages-{lines.hexdigest()[:32]}.jsonl")


def begin(path: Path, made: EmbeddingSpec) -> None:
    """Claim a folder, or go on in one; raises PassageIndexError for anything that is not ours, or
    was made in another way.
    """
    with _writing(path):
        _require_free_or_ours(path)
        path.mkdir(parents=True, exist_ok=True)
        # Staged even where it is not needed: nobody should learn after an hour that it cannot be.
        staged = _stage(path, Manifest(made).to_json())
        if is_embedded(path):
            staged.unlink()
        else:
            os.replace(staged, path / MANIFEST)
    found = read_manifest(path).made
    if found != made:
        raise _made_otherwise(path, found, made)


def _require_free_or_ours(path: Path) -> None:
    # Looked at before the manifest: another process may be writing the first one.
    try:
        is_free = all(_STAGED.fullmatch(file.name) for file in path.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        is_free = False
    if not is_free and not is_embedded(path):
        raise PassageIndexError(
            f"{path} is not an embedded corpus; expected a new or empty folder, or one that "
            "`onegen embed` wrote; choose another --out"
        )


def _made_otherwise(path: Path, found: EmbeddingSpec, expected: EmbeddingSpec) -> PassageIndexError:
    pairs = [
        (field.name, getattr(found, field.name), getattr(expected, field.name))
        for field in fields(EmbeddingSpec)
    ]
    differing = [f"{name} {str(a)[:12]}, not {str(b)[:12]}" for name, a, b in pairs if a != b]
    return PassageIndexError(
        f"{path} was embedded by another model or with other options ({'; '.join(differing)}); "
        "expected the same for all of it; use those again, or choose another --out"
    )


def require_same_corpus(path: Path, shards: Sequence[Shard]) -> None:
    """Raises InvalidInputError if the folder holds passages, and none of them is of this corpus."""
    present = {file.name: file for file in path.iterdir() if PASSAGES.fullmatch(file.name)}
    vectors = _vectors_by_content(path)
    if any(shard.passages_file in present or shard.content in vectors for shard in shards):
        return
    ours = {passage.id for shard in shards for passage in shard.passages}
    theirs = (read_passages(file) for file in present.values() if is_whole(file))
    if present and not any(passage.id in ours for some in theirs for passage in some):
        raise InvalidInputError(
            f"{path} holds another corpus, without any passage of these documents; expected the "
            "same documents, more or fewer of them; choose another --out, or delete the folder"
        )


def write_passages(path: Path, shards: Sequence[Shard]) -> None:
    """Those that are not there yet."""
    for shard in shards:
        if not is_whole(path / shard.passages_file):
            lines = "".join(map(passage_line, shard.passages)).encode()
            with _writing(path):
                os.replace(_stage(path, lines), path / shard.passages_file)


def find_missing(path: Path, shards: Sequence[Shard]) -> list[Shard]:
    """The shards whose vectors are not there; damaged ones are removed, and missing too."""
    vectors = _vectors_by_content(path)
    for content in {shard.content for shard in shards} & vectors.keys():
        if not is_whole(vectors[content]):
            logger.warning("%s is damaged; it is made again", vectors[content])
            with _writing(path):
                vectors.pop(content).unlink(missing_ok=True)
    return [shard for shard in shards if shard.content not in vectors]


def withdraw_broken(path: Path) -> None:
    """Take back a manifest that names files which are gone: it holds again once all are made."""
    manifest = read_manifest(path)
    named = (name for shard in manifest.shards for name in (shard.passages, shard.vectors))
    if not all((path / name).is_file() for name in named):
        with _writing(path):
            os.replace(_stage(path, Manifest(manifest.made).to_json()), path / MANIFEST)


def write_vectors(path: Path, shard: Shard, vectors: NDArray[Any]) -> None:
    """`vectors` (n, dimension), one row for each passage of the shard."""
    with _writing(path):
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        staged = _stage(path, content.getbuffer())
        os.replace(staged, path / f"vectors-{shard.content}-{digest(staged)}.npy")


def find_present(path: Path, shards: Sequence[Shard]) -> tuple[ShardFiles, ...]:
    """The shards whose files are there, as far as names tell."""
    vectors = _vectors_by_content(path)
    return tuple(
        ShardFiles(shard.passages_file, vectors[shard.content].name, len(shard.passages))
        for shard in shards
        if shard.content in vectors and (path / shard.passages_file).is_file()
    )


def _vectors_by_content(path: Path) -> dict[str, Path]:
    """One file for each content, the same one for every process."""
    files = sorted(path.glob("vectors-*.npy"), reverse=True)
    return {file.name.split("-")[1]: file for file in files if VECTORS.fullmatch(file.name)}


def finish(path: Path, manifest: Manifest) -> bool:
    """Name the shards of a whole corpus, and remove what belongs to none of them.

    False if the manifest said so already: of several processes that come here, one is told True.
    """
    with _writing(path), _one_at_a_time(path):
        is_new = read_manifest(path) != manifest
        if is_new:
            os.replace(_stage(path, manifest.to_json()), path / MANIFEST)
        _remove_stale(path, manifest)
    return is_new


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Whoever had to wait here for a manifest to be replaced reads the new one afterwards."""
    with (path / MANIFEST).open("r+b") as file:
        # Without locks, as in some network folders, two may write the same manifest.
        with suppress(ImportError, OSError):
            import fcntl  # not on Windows

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_stale(path: Path, manifest: Manifest) -> None:
    named = {name for shard in manifest.shards for name in (shard.passages, shard.vectors)}
    for file in path.iterdir():
        if _STAGED.fullmatch(file.name):
            with suppress(FileNotFoundError):  # another process has put it in its place
                if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                    file.unlink()
        is_shard = PASSAGES.fullmatch(file.name) or VECTORS.fullmatch(file.name)
        if is_shard and file.name not in named:
            file.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PassageIndexError(
            f"The embedded corpus cannot be written to {path} ({error}); expected a writable "
            "folder with room; run the same command again once there is room, or choose another "
            "--out"
        ) from error


def _stage(path: Path, content: bytes | memoryview) -> Path:
    staged = path / f".{uuid.uuid4().hex}.staged"
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged
