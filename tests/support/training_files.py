"""Training files, written line by line."""

import json
from pathlib import Path
from typing import Any


def write(file: Path, *records: Any) -> Path:
    lines = (r if isinstance(r, str) else json.dumps(r) for r in records)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file
