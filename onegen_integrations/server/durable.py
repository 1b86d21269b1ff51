"""Files that survive a kill and a power failure once they are written."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from onegen_model import files
from onegen_model.files import sync_folder

__all__ = ["replacing", "sync_folder", "write_json"]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """`files.replacing`, after which the name of the file is durable, too."""
    with files.replacing(path) as file:
        yield file
    sync_folder(path.parent)


def write_json(path: Path, plain: Any) -> None:
    """Replace a JSON file as a whole."""
    with replacing(path) as file:
        file.write(json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass"))
