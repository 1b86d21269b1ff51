"""A passage index on disk: one folder, replaced as a whole.

`manifest.json` names the two files that belong to it, with sizes and digests. A save writes new
files under new names and then replaces the manifest, one rename: whenever it is killed, the old
manifest still names the old files. (Swapping folders takes two renames and leaves a gap.)
"""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import PassageIndexError
from onegen_model.events import Passage

MANIFEST = "manifest.json"
_FORMAT = "onegen-passage-index"
_VERSION = 1
_OWN_FILE = re.compile(
    r"vectors-[0-9a-f]{12}\.npy|passages-[0-9a-f]{12}\.jsonl|manifest\.json(\.[0-9a-f]{12})?"
)
_STALE_SECONDS = 3600.0
_REBUILD = "build it again from the documents"


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """`fragments[i]` neighbouring rows of `vectors` (rows, dimension) belong to `passages[i]`."""

    fingerprint: str
    passages: Sequence[Passage]
    fragments: Sequence[int]
    vectors: NDArray[np.float32]


def passage_line(passage: Passage, fragments: int = 1) -> str:
    """One line of the passage file; raises TypeError or ValueError for what JSON cannot hold."""
    plain = asdict(passage)
    if fragments != 1:
        plain["fragments"] = fragments
    line = json.dumps(plain, ensure_ascii=False) + "\n"
    line.encode()
    return line


def write_index(path: Path, stored: StoredIndex) -> None:
    """Raises PassageIndexError if `path` cannot be written or holds something else."""
    _require_own(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write_generation(path, stored)
    except OSError as error:
        raise PassageIndexError(
            f"The index cannot be written to {path} ({error}); expected a writable folder with "
            "room; choose another path, or make room"
        ) from error


def _write_generation(path: Path, stored: StoredIndex) -> None:
    name = uuid.uuid4().hex[:12]
    vectors, passages = path / f"vectors-{name}.npy", path / f"passages-{name}.jsonl"
    staged = path / f"{MANIFEST}.{name}"
    lines = map(passage_line, stored.passages, stored.fragments)
    try:
        _write(vectors, lambda file: np.save(file, stored.vectors, allow_pickle=False))
        _write(passages, lambda file: file.writelines(line.encode() for line in lines))
        manifest = {
            "format": _FORMAT,
            "version": _VERSION,
            "fingerprint": stored.fingerprint,
            "dimension": stored.vectors.shape[1],
            "passages": len(stored.passages),
            "vectors": len(stored.vectors),
            "files": {file.name: _describe(file) for file in (vectors, passages)},
        }
        text = json.dumps(manifest, indent=1).encode()
        _write(staged, lambda file: file.write(text))
        old = _named_files(path)
        os.replace(staged, path / MANIFEST)
    except BaseException:
        # An interrupt may come after the manifest was replaced: the files belong to it by then.
        for file in {vectors, passages, staged} - {path / named for named in _named_files(path)}:
            file.unlink(missing_ok=True)
        raise
    _sync_folder(path)
    _remove(path, old, keep={vectors.name, passages.name, MANIFEST})


def read_index(path: Path, *, fingerprint: str, dimension: int) -> StoredIndex:
    """Raises PassageIndexError unless everything is there, whole, and of this model."""
    while True:
        manifest = _read_manifest(path)
        try:
            return _read(path, manifest, fingerprint, dimension)
        except PassageIndexError:
            if manifest == _read_manifest(path):  # else another process has just saved
                raise


def _read(path: Path, manifest: dict[str, Any], fingerprint: str, dimension: int) -> StoredIndex:
    if manifest["dimension"] != dimension:
        raise PassageIndexError(
            f"{path} holds vectors of dimension {manifest['dimension']}; expected {dimension}, as "
            f"this model writes them; load it with its own model, or {_REBUILD}"
        )
    if manifest["fingerprint"] != fingerprint:
        raise PassageIndexError(
            f"{path} was made by another model (fingerprint {manifest['fingerprint'][:12]}…); "
            f"expected {fingerprint[:12]}…; load it with its own model, or {_REBUILD}"
        )
    vectors, passages = (path / name for name in manifest["files"])
    for file in (vectors, passages):
        _check(file, manifest["files"][file.name])
    try:
        rows = np.load(vectors, allow_pickle=False)
        with passages.open(encoding="utf-8") as lines:
            parsed = list(_parse(lines))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    fragments = [count for _, count in parsed]
    if rows.shape != (sum(fragments), dimension) or rows.dtype != np.float32:
        raise _damaged(path, "holds another number of vectors than its passages need")
    return StoredIndex(fingerprint, [passage for passage, _ in parsed], fragments, rows)


def is_index(path: Path) -> bool:
    """Whether an index was once saved there; it may still be damaged or of another model."""
    return (path / MANIFEST).is_file()


def is_ours(folder: Path) -> bool:
    """Whether a folder is an index or an embedded corpus: other programs have a manifest.json too.

    One whose manifest is damaged is known by its vectors.
    """
    try:
        plain = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return is_index(folder) and any(folder.glob("vectors-*.npy"))
    return isinstance(plain, dict) and str(plain.get("format", "")).startswith("onegen-")


def _parse(lines: Iterable[str]) -> Iterator[tuple[Passage, int]]:
    for line in lines:
        plain = json.loads(line)
        count = int(plain.pop("fragments", 1))
        yield Passage(**plain), count


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PassageIndexError(
            f"There is no index at {path}; expected a folder that PassageIndex.save wrote; "
            "check the path, or build one with `onegen index`"
        )
    if not is_index(path):
        half = path.is_dir() and any(_OWN_FILE.fullmatch(file.name) for file in path.iterdir())
        if half:
            raise _damaged(path, "is half-written: its first save did not finish")
        raise PassageIndexError(
            f"{path} is not an index; expected a folder with {MANIFEST}; check the path, or build "
            "one with `onegen index`"
        )
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        ours, version = manifest["format"] == _FORMAT, manifest["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"has an unreadable {MANIFEST}") from error
    if not ours:
        raise PassageIndexError(
            f"{path} is not a passage index; expected {MANIFEST} of format {_FORMAT}; "
            "check the path"
        )
    if version != _VERSION:
        raise PassageIndexError(
            f"{path} has format version {version}; expected {_VERSION}; use the OneGen that wrote "
            f"it, or {_REBUILD}"
        )
    _check_manifest(path, manifest)
    return manifest


def _check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    files = manifest.get("files")
    kinds = {"fingerprint": str, "dimension": int, "passages": int, "vectors": int, "files": dict}
    fine = all(isinstance(manifest.get(name), kind) for name, kind in kinds.items())
    if not fine or not files or len(files) != 2 or not all(map(_OWN_FILE.fullmatch, files)):
        raise _damaged(path, f"has an incomplete {MANIFEST}")


def _check(file: Path, expected: dict[str, Any]) -> None:
    try:
        size = file.stat().st_size
        if size != expected.get("bytes"):
            what = f"is truncated: {file.name} has {size} of {expected.get('bytes')} bytes"
            raise _damaged(file.parent, what)
        found = _describe(file)
    except FileNotFoundError as error:
        # At any moment: another process may have saved, and removed what it replaced.
        raise _damaged(file.parent, f"lacks {file.name}") from error
    if found != expected:
        raise _damaged(file.parent, f"is damaged: {file.name} has another sha256")


def _damaged(path: Path, what: str) -> PassageIndexError:
    return PassageIndexError(
        f"The index {path} {what}; expected it as it was saved; restore it, or delete the folder "
        f"and {_REBUILD}"
    )


def _require_own(path: Path) -> None:
    if not path.exists():
        return
    if path.is_dir():
        names = [file.name for file in path.iterdir()]
        if all(map(_OWN_FILE.fullmatch, names)):
            return
        if MANIFEST in names:
            _read_manifest(path)  # says what stands there instead
            return
    raise PassageIndexError(
        f"{path} is not an index; expected a new or empty folder, or an index to replace; "
        "choose another path"
    )


def _named_files(path: Path) -> set[str]:
    try:
        return set(_read_manifest(path)["files"])
    except PassageIndexError:
        return set()


def _remove(path: Path, old: set[str], keep: set[str]) -> None:
    """The previous files, and what killed saves left; a save still running is younger."""
    for file in path.iterdir():
        if file.name in keep or not _OWN_FILE.fullmatch(file.name):
            continue
        if file.name in old or time.time() - file.stat().st_mtime > _STALE_SECONDS:
            file.unlink(missing_ok=True)


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    with path.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
