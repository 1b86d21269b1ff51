"""Files on disk: atomic replacement, digests, and a lock for a folder."""

import errno
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import filelock

logger = logging.getLogger(__name__)

LOCK = ".lock"
_STAGED = re.compile(r"\.[0-9a-f]{32}\.staged")
_STALE_SECONDS = 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new binary file that takes the place of `path` when the block ends without an error.

    Its content is synced to disk first. After an error or a kill, `path` is what it was before.
    """
    staged = path.with_name(f".{uuid.uuid4().hex}.staged")
    file = staged.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes | memoryview | str) -> None:
    """Replace `path` as a whole; text is written as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def require_writable(folder: Path) -> None:
    """Raise OSError unless a file can be written into `folder` now."""
    staged = folder / f".{uuid.uuid4().hex}.staged"
    try:
        with staged.open("xb") as file:
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            staged.unlink()


def is_staged(name: str) -> bool:
    """Whether a file of this name is a replacement that is not finished, or a folder's lock."""
    return name == LOCK or _STAGED.fullmatch(name) is not None


def remove_stale(folder: Path) -> None:
    """Remove replacements that killed processes left; those of running processes are younger."""
    for file in folder.iterdir():
        if _STAGED.fullmatch(file.name):
            with suppress(FileNotFoundError):  # its process has just moved it into place
                if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                    file.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names of new files in `folder` survive a power failure."""
    if os.name == "nt":  # Windows cannot open a folder.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some network file systems.
            raise
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def hold_folder(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing.

    One thread of one process holds it at a time, and may take it again inside. Raises TimeoutError
    if another one still holds it after `wait` seconds, and OSError if the folder cannot be written.
    """
    with ExitStack() as held:
        is_new = _take_lock(folder, wait, held)
        try:
            yield
        finally:
            # Removed while the lock is held: another process may be waiting for it.
            with suppress(OSError):
                if is_new and [file.name for file in folder.iterdir()] == [LOCK]:
                    (folder / LOCK).unlink()
                    folder.rmdir()


def _take_lock(folder: Path, wait: float, held: ExitStack) -> bool:
    """Returns whether the folder was made here."""
    while True:
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(folder.resolve() / LOCK, is_singleton=True)
            held.enter_context(lock.acquire(timeout=wait))
            with suppress(OSError):  # Every user who may write to the folder may take its lock.
                (folder / LOCK).chmod(folder.stat().st_mode & 0o666)
        except NotImplementedError:
            logger.warning("The file system of %s has no locks; expected one writer", folder)
        except FileNotFoundError:
            if folder.exists():
                raise
            continue  # The holder has removed the folder that it made.
        return is_new
