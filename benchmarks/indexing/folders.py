"""Folders of text to index: sentences of our own documents, shuffled."""

import random
import re
from pathlib import Path

from benchmarks.own_documents.making import TEXTS

MEGABYTE = 1_000_000
FILE_BYTES = 50_000
_SENTENCES_PER_PARAGRAPH = 5
_PARAGRAPHS_PER_SECTION = 6


def sentences() -> list[str]:
    """All sentences of the paragraphs in our Markdown texts."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(TEXTS.rglob("*.md"))]
    blocks = [block for text in texts for block in re.split(r"\n\s*\n", text)]
    prose = [" ".join(block.split()) for block in blocks if re.match(r"[A-Z][^|]+$", block)]
    found = [one for block in prose for one in re.findall(r"[A-Z].{20,}?\.(?= |$)", block)]
    return list(dict.fromkeys(found))


def fill(folder: Path, size: int, seed: int = 0) -> list[Path]:
    """Write Markdown files of some 50 kB, `size` bytes in all."""
    rng, known, written = random.Random(seed), sentences(), 0
    files: list[Path] = []
    while written < size:
        text = _text(rng, known, len(files), min(FILE_BYTES, size - written))
        files.append(write_file(folder, len(files), text))
        written += len(text.encode())
    return files


def fill_small(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` files of one section each."""
    rng, known = random.Random(seed), sentences()
    return [write_file(folder, n, _text(rng, known, n, 1_000)) for n in range(count)]


def write_file(folder: Path, number: int, text: str) -> Path:
    path = folder / f"{number // 100:03}" / f"{number:05}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _text(rng: random.Random, known: list[str], number: int, size: int) -> str:
    parts, length = [f"# Volume {number}"], 0
    while length < size:
        if len(parts) % _PARAGRAPHS_PER_SECTION == 1:
            parts.append(f"## Section {len(parts)} of volume {number}")
        some = rng.choices(known, k=_SENTENCES_PER_PARAGRAPH)
        # A number in each paragraph: equal texts would be embedded once.
        parts.append(f"Entry {rng.randrange(10**9)}. {' '.join(some)}")
        length += len(parts[-1])
    return "\n\n".join(parts) + "\n"
