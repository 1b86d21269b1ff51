"""Writes indexes as a whole, and embedded corpora shard by shard; see `corpus` for the files.

Several processes of `onegen embed` may write shards into one folder; an index is saved by one
writer at a time.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.files import remove_stale, require_writable, sync_folder
from onegen_model.retrieval.corpus import is_whole, read_passages
from onegen_model.retrieval.folders import (
    hold_for_writing,
    remove_unnamed,
    replace_manifest,
    require_free_or_ours,
    writing,
)
from onegen_model.retrieval.manifest import (
    MANIFEST,
    PASSAGES,
    VECTORS,
    DamagedIndexError,
    EmbeddingSpec,
    Manifest,
    ShardFiles,
    is_embedded,
    read_manifest,
)
from onegen_model.retrieval.shards import (
    Shard,
    cut,
    vectors_by_content,
    write_passages,
    write_vectors,
)

logger = logging.getLogger(__name__)

# Long enough for another process to replace a manifest and to remove stale files.
_WAIT_SECONDS = 60.0


class VectorRows(Protocol):
    """An array of unit vectors (rows, dimension), or what makes a part of one when asked for it."""

    def __getitem__(self, some: slice, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Content:
    """`fragments[i]` adjoining rows of `vectors` (rows, dimension) belong to `passages[i]`."""

    passages: Sequence[Passage]
    fragments: Sequence[int]
    vectors: VectorRows


# --- an index, as a whole ---


def save_corpus(
    path: Path,
    made: EmbeddingSpec,
    content: Content,
    expected: Manifest | None,
    on_replaced: Callable[[Manifest], None],
) -> None:
    """Replace what a folder holds by `content`; unchanged shards stay.

    `expected` is the manifest that the content was made from, if it came from this folder: with
    another one in its place, PassageIndexError is raised, because a save would drop what was
    written meanwhile. `on_replaced` gets the new manifest as soon as the folder has it, even if
    the call is interrupted later.
    """
    with hold_for_writing(path):
        _require_replaceable(path, expected)
        with writing(path):
            before = {file.name for file in path.iterdir()}
        try:
            manifest = Manifest(made, tuple(_write_shards(path, made, content)))
            with writing(path):
                replace_manifest(path, manifest)
                on_replaced(manifest)
                sync_folder(path)
        except BaseException:
            # An interrupt may come after the manifest was replaced: it names the new files then.
            with suppress(OSError):  # The first error says more.
                remove_unnamed(path, keep=before)
            raise
        _remove_replaced(path)


def _remove_replaced(path: Path) -> None:
    try:
        remove_stale(path)
        remove_unnamed(path)
    except OSError as error:  # The save is done, and the next one tries again.
        logger.warning("Replaced files in %s cannot be removed (%s)", path, error)


def _require_replaceable(path: Path, expected: Manifest | None) -> None:
    if not (path / MANIFEST).exists():
        return
    try:
        found = read_manifest(path)
    except DamagedIndexError:
        if expected is None:  # A save drops nothing that it names.
            return
        raise
    if expected is not None and found != expected:
        raise PassageIndexError(
            f"{path} was changed by another process since it was loaded; expected it unchanged, "
            "because saving would drop what was added there; load it again and repeat the change, "
            "or save to another folder"
        )
    if expected is None and not found.is_index:
        raise PassageIndexError(
            f"{path} is an embedded corpus that this index was not loaded from; expected a new "
            "folder, or an index to replace; choose another folder, or load the corpus first"
        )


def _write_shards(path: Path, made: EmbeddingSpec, content: Content) -> Iterator[ShardFiles]:
    start = 0
    for shard in cut(content.passages, made.shard_size, content.fragments):
        end = start + sum(shard.fragments)
        vectors = content.vectors[start:end].astype(made.stored_as, copy=False)
        write_passages(path, [shard])
        name = write_vectors(path, shard, vectors)
        yield ShardFiles(shard.passages_file, name, len(shard.passages))
        start = end


# --- a corpus, shard by shard ---


def begin(path: Path, made: EmbeddingSpec) -> None:
    """Claim a folder, or continue in one; raises PassageIndexError if it holds anything else, or
    vectors that were made in another way.
    """
    require_free_or_ours(path)
    if not is_embedded(path):
        with hold_for_writing(path, wait=_WAIT_SECONDS), writing(path):
            if not is_embedded(path):
                _require_no_shards(path)
                replace_manifest(path, Manifest(made))
    with writing(path):
        require_writable(path)
    found = read_manifest(path)
    if found.is_index:
        raise PassageIndexError(
            f"{path} is an index that PassageIndex.save or `onegen index` wrote; expected a new "
            "folder, or one of `onegen embed`; run `onegen index` to add to it, or choose another "
            "--out"
        )
    if found.made != made:
        raise _made_otherwise(path, found.made, made)


def _require_no_shards(path: Path) -> None:
    """Vectors that no manifest describes may be of another model."""
    if any(VECTORS.fullmatch(file.name) for file in path.iterdir()):
        raise PassageIndexError(
            f"{path} holds vectors without a readable {MANIFEST}; expected one that says how they "
            "were made; restore it, delete the folder, or choose another --out"
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
    vectors = vectors_by_content(path)
    if any(shard.passages_file in present or shard.content in vectors for shard in shards):
        return
    ours = {passage.id for shard in shards for passage in shard.passages}
    theirs = (read_passages(file) for file in present.values() if is_whole(file))
    if present and not any(passage.id in ours for some in theirs for passage, _ in some):
        raise InvalidInputError(
            f"{path} holds another corpus, without any passage of these documents; expected the "
            "same documents, more or fewer of them; choose another --out, or delete the folder"
        )


def withdraw_broken(path: Path) -> None:
    """Mark a corpus as unfinished if files that its manifest names are gone."""
    # Locked: another process may be finishing the corpus, and removing the files of the old one.
    with hold_for_writing(path, wait=_WAIT_SECONDS), writing(path):
        manifest = read_manifest(path)
        if not all((path / name).is_file() for name in manifest.files):
            replace_manifest(path, Manifest(manifest.made))


def require_made(path: Path, made: EmbeddingSpec) -> Manifest:
    """The manifest; raises PassageIndexError if the folder has become another corpus or an index
    since it was begun.
    """
    found = read_manifest(path)
    if found.made != made:
        raise PassageIndexError(
            f"{path} was changed by another process meanwhile; expected it as `onegen embed` left "
            "it; choose another --out"
        )
    return found


def finish(path: Path, manifest: Manifest) -> bool:
    """Name the shards of a whole corpus, and remove files that belong to none of them.

    Returns False if the manifest named them already, so that one of several processes gets True.
    """
    with hold_for_writing(path, wait=_WAIT_SECONDS), writing(path):
        found = require_made(path, manifest.made)
        if found != manifest:
            replace_manifest(path, manifest)
            sync_folder(path)
        _remove_replaced(path)
    return found != manifest
