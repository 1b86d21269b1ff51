"""Files that survive a kill and a power failure once they are written."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path`, synced, when the block ends without an error."""
    staged = path.with_name(f".{uuid.uuid4().hex}.staged")
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
        sync_folder(path.parent)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def write_json(path: Path, plain: Any) -> None:
    """Replace a JSON file as a whole."""
    with replacing(path) as file:
        file.write(json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def sync_folder(folder: Path) -> None:
    """Make new, renamed and removed names in a folder durable."""
    if os.name == "nt":  # Windows cannot open a folder.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
