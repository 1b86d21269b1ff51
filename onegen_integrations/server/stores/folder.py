"""The uploaded files of a server, on disk."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from onegen_integrations.server.durable import replacing, sync_folder, write_json
from onegen_integrations.server.errors import StorageError, keeping
from onegen_integrations.server.stores.names import clean_name, new_id, suffix_of
from onegen_integrations.server.stores.records import FileRecord

_BLOCK = 1 << 20


class FileFolder:
    """Files by their ids, in the order of their upload; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        read = [read_json(one / "file.json") for one in kept(folder, "file.json")]
        records = sorted(map(FileRecord.from_json, read), key=lambda one: one.created)
        self._records = {one.id: one for one in records}

    @property
    def records(self) -> list[FileRecord]:
        """The oldest first."""
        with self._lock:
            return list(self._records.values())

    def get(self, file_id: str) -> FileRecord | None:
        """The record of a file, if there is one."""
        return self._records.get(file_id)

    def path(self, record: FileRecord) -> Path:
        """Where the content lies."""
        return self._folder / record.id / f"content{record.suffix}"

    def add(
        self, content: IO[bytes], name: str, purpose: str, scope: Mapping[str, Any]
    ) -> FileRecord:
        """Keep a file: it survives a kill once this has returned."""
        file_id, filename = new_id("file-"), clean_name(name)
        suffix, folder = suffix_of(filename), self._folder / file_id
        size, digest = 0, hashlib.sha256()
        with making(folder, "file"):
            with replacing(folder / f"content{suffix}") as file:
                while block := content.read(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
            record = FileRecord(
                file_id, filename, purpose, size, digest.hexdigest(), time.time(), suffix, scope
            )
            write_json(folder / "file.json", asdict(record))
        with self._lock:
            self._records[file_id] = record
        return record

    def remove(self, file_id: str) -> None:
        """Forget a file, and remove its content."""
        with self._lock:
            self._records.pop(file_id, None)
        drop(self._folder / file_id, "file.json")


@contextmanager
def making(folder: Path, what: str) -> Iterator[None]:
    """Make a folder; it is durable when the block ends, and gone after an error."""
    try:
        with keeping(what):
            folder.mkdir()
            yield
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def kept(folder: Path, record: str) -> list[Path]:
    """The folders inside of `folder` that have their record; others are removed: what was being
    made, or removed, when the server was killed.
    """
    found = [one for one in sorted(folder.iterdir()) if one.is_dir()]
    for one in found:
        if not (one / record).is_file():
            shutil.rmtree(one, ignore_errors=True)
        for staged in one.glob(".*.staged"):
            staged.unlink(missing_ok=True)
    return [one for one in found if one.is_dir()]


def drop(folder: Path, record: str) -> None:
    """Remove a folder so that a kill leaves all of it, or what `kept` removes.

    Nothing where another request has just removed it.
    """
    with suppress(FileNotFoundError):
        (folder / record).unlink()
        sync_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)


def read_json(path: Path) -> Any:
    """The content of a record; raises StorageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read ({type(error).__name__}); expected what this server wrote; "
            "restore it, or remove its folder"
        ) from error
