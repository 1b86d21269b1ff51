"""The script that writes what examples print into their docstrings."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = '''"""Adds up all that it was ever given.

    $ python adds.py 1 2
    something else

    $ python adds.py 3
    6

Sums are whole.
"""

import sys
from pathlib import Path

seen = Path("seen.txt")
before = int(seen.read_text()) if seen.exists() else 0
seen.write_text(str(before + sum(map(int, sys.argv[1:]))))
print(seen.read_text())
'''


@pytest.fixture
def refresh(training_script: Callable[[str], ModuleType]) -> ModuleType:
    return training_script("refresh_examples")


def test_what_an_example_prints_comes_behind_its_command(
    refresh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "adds.py"
    example.write_text(EXAMPLE)
    monkeypatch.setattr("sys.argv", ["refresh_examples.py", str(example)])
    refresh.main()
    assert example.read_text() == EXAMPLE.replace("something else", "3")


def test_an_example_that_fails_is_unchanged(
    refresh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "adds.py"
    example.write_text(before := EXAMPLE.replace(" 3\n", " three\n"))
    monkeypatch.setattr("sys.argv", ["refresh_examples.py", str(example)])
    with pytest.raises(subprocess.CalledProcessError):
        refresh.main()
    assert example.read_text() == before
