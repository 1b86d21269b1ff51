"""The script that writes what examples print into their docstrings."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = '''"""Adds.

    $ python {path} 1 2
    something else

    $ python {path} 3
    3

Sums are whole.
"""

import sys

print(sum(map(int, sys.argv[1:])))
'''


@pytest.fixture
def refresh(training_script: Callable[[str], ModuleType]) -> ModuleType:
    return training_script("refresh_examples")


def test_what_an_example_prints_comes_behind_its_command(
    refresh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "adds.py"
    example.write_text(EXAMPLE.format(path="adds.py"))
    monkeypatch.setattr("sys.argv", ["refresh_examples.py", str(example)])
    refresh.main()
    assert example.read_text() == EXAMPLE.format(path="adds.py").replace("something else", "3")


def test_an_example_that_fails_stays_as_it_is(
    refresh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "adds.py"
    example.write_text(before := EXAMPLE.format(path="adds.py").replace(" 3\n", " three\n"))
    monkeypatch.setattr("sys.argv", ["refresh_examples.py", str(example)])
    with pytest.raises(subprocess.CalledProcessError):
        refresh.main()
    assert example.read_text() == before
