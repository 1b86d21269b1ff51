"""Only our own words are in the repository: no text of others, and no file that held some."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Files that held paragraphs, questions or transcripts of real data sets.
HELD_TEXT_OF_OTHERS = (
    "benchmarks/data_small/*",
    "onegen_model/demo/ATTRIBUTION.md",
    "onegen_model/demo/questions.json",
    "training/prepare_demo.py",
    "benchmarks/results/*.tar.xz",
    "benchmarks/results/*.png",
    "benchmarks/results/*unshipped*",
)
# People, films and places of the paragraphs and questions that were in them, in parts, so that
# this file does not hold them itself.
NAMES_OF_REAL_DATA = [
    " ".join(parts)
    for parts in (
        ("Margaret", "Verney"),
        ("Kalavar", "King"),
        ("Henry", "Grey"),
        ("Personal", "Computer", "World"),
        ("Etan", "Boritzer"),
        ("Fran", "Drescher"),
        ("V-Day:", "Until"),
    )
]
TEXT = {".py", ".md", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".txt"}
# A dump of somebody else's pages would be larger than anything that is written by hand.
MAX_RESULT_BYTES = 200_000
MAX_STRING_OF_A_RESULT = 120


def tracked() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    yield from (ROOT / name for name in listed.stdout.split("\0") if name)


def test_files_with_text_of_others_do_not_return() -> None:
    back = [path for pattern in HELD_TEXT_OF_OTHERS for path in ROOT.glob(pattern)]
    assert not back


def test_names_of_real_data_do_not_return() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in tracked()
        if path.suffix in TEXT and path.is_file()
        for text in [path.read_text(encoding="utf-8")]
        for name in NAMES_OF_REAL_DATA
        if name in text
    ]
    assert not found


def test_results_quote_nothing() -> None:
    """Ids, scores, counters and settings are short; a quoted passage is not."""
    for path in (ROOT / "benchmarks" / "results").glob("*"):
        assert path.suffix == ".json", path
        assert path.stat().st_size < MAX_RESULT_BYTES, path
        strings = re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8"))
        assert not [one for one in strings if len(one) > MAX_STRING_OF_A_RESULT], path
