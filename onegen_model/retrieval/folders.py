"""Locks and checks of the folders of indexes and corpora that are being written."""

from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onegen_model.errors import PassageIndexError
from onegen_model.files import hold_folder, is_staged, sync_folder, write_atomically
from onegen_model.retrieval.manifest import (
    MANIFEST,
    Manifest,
    is_embedded,
    is_own_file,
    read_manifest,
)


@contextmanager
def hold_for_writing(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of an index's folder, new or existing; a thread may hold it repeatedly.

    Raises PassageIndexError if the folder holds something else, if it cannot be written, or if
    another process still holds it after `wait` seconds.
    """
    require_free_or_ours(path)
    with ExitStack() as held:
        with writing(path):
            try:
                held.enter_context(hold_folder(path, wait=wait))
            except TimeoutError as error:
                raise PassageIndexError(
                    f"Another process is writing to {path}; expected one writer at a time; wait "
                    "until it has finished, or choose another folder"
                ) from error
        yield


def require_free_or_ours(path: Path) -> None:
    """Raise PassageIndexError if a folder holds anything but an index, or lies in an index."""
    _require_outside(path)
    # Listed before the manifest is read: another process may be writing the first one.
    with writing(path):
        try:
            is_free = all(is_own_file(file.name) for file in path.iterdir())
        except FileNotFoundError:
            return
        except NotADirectoryError:
            is_free = not path.exists()  # The file is a parent: writing reports it.
    if not is_free and not is_embedded(path):
        raise PassageIndexError(
            f"{path} is not an index; expected a new or empty folder, or one that PassageIndex.save"
            ", `onegen index`, `onegen entities` or `onegen embed` wrote; choose another folder"
        )


def _require_outside(path: Path) -> None:
    with writing(path):
        around = next((folder for folder in path.resolve().parents if is_embedded(folder)), None)
    if around is not None:
        raise PassageIndexError(
            f"{path} lies in the index {around}; expected a folder outside of it; choose another "
            "folder"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into a PassageIndexError that names the folder."""
    try:
        yield
    except OSError as error:
        raise PassageIndexError(
            f"The index cannot be written to {path} ({error}); expected a writable folder with "
            "room; make room and do the same again, or choose another folder"
        ) from error


def replace_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest that never survives a power failure without the files it names."""
    sync_folder(path)
    write_atomically(path / MANIFEST, manifest.to_json())


def remove_unnamed(path: Path, keep: Set[str] = frozenset()) -> None:
    """Remove shards and old files that the manifest does not name, except those in `keep`."""
    try:
        named = {MANIFEST} | read_manifest(path).files | keep
    except PassageIndexError:  # The first save has failed.
        named = {MANIFEST} | keep
    for file in path.iterdir():
        if is_own_file(file.name) and not is_staged(file.name) and file.name not in named:
            file.unlink(missing_ok=True)
