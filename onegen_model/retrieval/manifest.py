"""The manifest of a folder of passages and vectors, and which files belong to one."""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from onegen_model.errors import PassageIndexError
from onegen_model.files import is_staged
from onegen_model.retrieval import corpus_v1

MANIFEST = "manifest.json"
DEFAULT_SHARD_SIZE = 2048  # passages
STORED_DTYPES = ("float32", "float16")
PASSAGES = re.compile(r"passages-([0-9a-f]{32})\.jsonl")
VECTORS = re.compile(r"vectors-[0-9a-f]{32}-([0-9a-f]{32})\.npy")
_FORMAT = "onegen-embedded-corpus"
_VERSION = 2
_WRITERS = "PassageIndex.save, `onegen index`, `onegen entities` or `onegen embed`"
_BUILD = "build one with `onegen index`, or with `onegen entities` if it is of entities"


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """How all vectors of a corpus are made; `stored_as` is their dtype on disk.

    `dtype` is that of the model; None if it is unknown, because an index may grow in several
    dtypes.
    """

    fingerprint: str
    dimension: int
    max_passage_tokens: int | None
    dtype: str | None
    stored_as: str
    shard_size: int


class Maker(Protocol):
    """The part of an embedder that a manifest records."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_passage_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The names of a shard's files, and its number of passages.

    `sums` are the digests of both files where their names hold none (version 1).
    """

    passages: str
    vectors: str
    count: int
    sums: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json; without shards (None) the corpus is not finished."""

    made: EmbeddingSpec
    shards: tuple[ShardFiles, ...] | None = None

    @property
    def files(self) -> set[str]:
        """The names of all files of the corpus."""
        return {name for shard in self.shards or () for name in (shard.passages, shard.vectors)}

    @property
    def is_index(self) -> bool:
        """Whether an index has saved it, so that no single run of `onegen embed` made it."""
        return self.made.dtype is None

    def to_json(self) -> bytes:
        """The content of the file."""
        names = ("passages", "vectors", "count")
        shards = self.shards
        plain = {
            "format": _FORMAT,
            "version": _VERSION,
            **asdict(self.made),
            "passages": sum(shard.count for shard in shards or ()),
            "shards": shards
            and [{name: getattr(shard, name) for name in names} for shard in shards],
        }
        return json.dumps(plain, indent=1).encode()


def index_spec(maker: Maker, replaced: Manifest | None) -> EmbeddingSpec:
    """The spec of an index that a save writes; the files stay as they were in the one replaced."""
    old = None if replaced is None else replaced.made
    return EmbeddingSpec(
        maker.fingerprint,
        maker.dimension,
        maker.max_passage_tokens,
        None,
        "float32" if old is None else old.stored_as,
        DEFAULT_SHARD_SIZE if old is None else old.shard_size,
    )


def is_embedded(path: Path) -> bool:
    """Whether a folder has our manifest; the corpus may be unfinished, damaged or old."""
    try:
        plain = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and plain.get("format") in (_FORMAT, corpus_v1.INDEX_FORMAT)


def is_ours(folder: Path) -> bool:
    """Whether this library wrote the folder: other programs write a manifest.json, too.

    A folder with a damaged manifest is recognised by its vectors.
    """
    has_manifest = (folder / MANIFEST).is_file()
    return is_embedded(folder) or (has_manifest and any(folder.glob("vectors-*.npy")))


def is_own_file(name: str) -> bool:
    """Whether a file belongs to a corpus, finished or not, by its name."""
    patterns = (PASSAGES, VECTORS, corpus_v1.OWN_FILE)
    return name == MANIFEST or is_staged(name) or any(one.fullmatch(name) for one in patterns)


def read_manifest(path: Path) -> Manifest:
    """Raises PassageIndexError if it is missing, damaged or of another version."""
    plain = _read_plain(path)
    kind, version = plain.get("format"), plain.get("version")
    if kind not in (_FORMAT, corpus_v1.INDEX_FORMAT):
        raise PassageIndexError(
            f"{path} is not an index; expected a folder that {_WRITERS} wrote; check the path"
        )
    if version not in ((1,) if kind == corpus_v1.INDEX_FORMAT else (1, _VERSION)):
        raise PassageIndexError(
            f"{path} has format version {version}; expected {_VERSION} or older; use the OneGen "
            "that wrote it, or embed the documents again into another folder"
        )
    try:
        manifest = _parse(plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"has an incomplete {MANIFEST}") from error
    if not all(map(is_own_file, manifest.files - {MANIFEST})):
        raise damaged(path, f"names files in {MANIFEST} that are not its own")
    return manifest


def _read_plain(path: Path) -> dict[str, Any]:
    try:
        return _read_json(path)
    except OSError as error:
        raise PassageIndexError(
            f"{path} cannot be read ({error}); expected an index that may be read; change its "
            "permissions, or choose another"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PassageIndexError(
            f"There is no index at {path}; expected a folder that {_WRITERS} wrote; check the "
            f"path, or {_BUILD}"
        )
    if not (path / MANIFEST).is_file():
        names = [file.name for file in path.iterdir()] if path.is_dir() else []
        if any(is_own_file(name) and not is_staged(name) for name in names):
            raise damaged(path, f"is half-written: it has no {MANIFEST}")
        raise PassageIndexError(
            f"{path} is not an index; expected a folder with {MANIFEST}, as {_WRITERS} writes it; "
            f"check the path, or {_BUILD}"
        )
    try:
        plain = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"has an unreadable {MANIFEST}") from error
    if not isinstance(plain, dict):
        raise damaged(path, f"has an unreadable {MANIFEST}")
    return plain


def _parse(plain: dict[str, Any]) -> Manifest:
    if plain["format"] == corpus_v1.INDEX_FORMAT:
        spec, shard = corpus_v1.parse_index(plain)
        shards = [shard]
    else:
        spec = {field.name: plain[field.name] for field in fields(EmbeddingSpec)}
        shards = plain["shards"]
    made = EmbeddingSpec(**spec)
    if shards is None or (plain["version"] == 1 and not shards):
        return Manifest(_sound_spec(made))
    return Manifest(_sound_spec(made), tuple(_sound_shard(ShardFiles(**shard)) for shard in shards))


def _sound_spec(made: EmbeddingSpec) -> EmbeddingSpec:
    numbers = made.dimension, made.shard_size
    if not isinstance(made.fingerprint, str) or not all(isinstance(n, int) for n in numbers):
        raise TypeError(made)
    if min(numbers) < 1 or made.stored_as not in STORED_DTYPES:
        raise ValueError(made)
    return made


def _sound_shard(shard: ShardFiles) -> ShardFiles:
    names = shard.passages, shard.vectors
    if not all(isinstance(name, str) for name in names) or not isinstance(shard.count, int):
        raise TypeError(shard)
    if shard.count < 0:
        raise ValueError(shard)
    return shard


class DamagedIndexError(PassageIndexError):
    """A file of the folder is missing or was changed."""


def damaged(path: Path, what: str) -> DamagedIndexError:
    """The error for a damaged folder; `what` is the end of "The index PATH …"."""
    return DamagedIndexError(
        f"The index {path} {what}; expected it as it was written; restore it, run the same "
        "`onegen embed` again, or delete the folder and build it again from the documents"
    )
