"""Writes the folder of documents.

The texts are kept as plain UTF-8. A file of another kind has one more suffix there:
`budget.xlsx.json` becomes `budget.xlsx`, `harbour.yaml.txt` becomes `harbour.yaml`.
"""

import gzip
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
# Files in another encoding than UTF-8.
ENCODINGS = {"letters/postcard.txt": "latin-1", "letters/notice.txt": "utf-16"}


def sources() -> dict[str, str]:
    """The text that each file is made of, by the path of the file in the folder."""
    texts = sorted(path for path in TEXTS.rglob("*") if path.is_file())
    return {_target(path): path.read_text(encoding="utf-8") for path in texts}


def _target(path: Path) -> str:
    is_made = bool(Path(path.stem).suffix)
    return (path.with_suffix("") if is_made else path).relative_to(TEXTS).as_posix()


def make(folder: Path) -> list[Path]:
    """Write all files; those that are there already are replaced."""
    written = []
    for name, text in sources().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(name, text))
        written.append(path)
    return written


def _content(name: str, text: str) -> bytes:
    # The writers need packages of the development environment; asking does not.
    from benchmarks.own_documents.writers import WRITERS

    suffix = Path(name).suffix
    if suffix in WRITERS:
        return WRITERS[suffix](text)
    data = text.encode(ENCODINGS.get(name, "utf-8"))
    return gzip.compress(data, mtime=0) if suffix == ".gz" else data
