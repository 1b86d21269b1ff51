"""Run the examples and write their output into their docstrings, after a change of checkpoint.

    python training/refresh_examples.py examples/0*.py

Read the difference before a commit: an example should still show its subject.
"""

import ast
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_INDENT = "    "
_COMMAND = re.compile(r"    \$ python (\S+)(.*)")


def refreshed(example: Path, docstring: str, folder: Path) -> str:
    """The docstring with new output behind each command in it; all of them run in `folder`."""
    lines, kept = docstring.splitlines(), []
    while lines:
        kept.append(line := lines.pop(0))
        if not (command := _COMMAND.fullmatch(line)):
            continue
        while lines and lines[0].startswith(_INDENT) and not _COMMAND.fullmatch(lines[0]):
            lines.pop(0)
        kept += [f"{_INDENT}{one}".rstrip() for one in printed(example, command[2], folder)]
    return "\n".join([*kept, ""])


def printed(example: Path, arguments: str, folder: Path) -> list[str]:
    """What an example prints, without empty lines: one would end the output in the docstring."""
    done = subprocess.run(
        [sys.executable, str(example.resolve()), *shlex.split(arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = done.stdout.rstrip().splitlines()
    if not all(line.strip() for line in lines):
        raise SystemExit(f"{example} prints an empty line; expected none")
    return lines


def main() -> None:
    for example in map(Path, sys.argv[1:]):
        source = example.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source), clean=False) or ""
        if docstring not in source:
            raise SystemExit(f"{example} has an escape in its docstring; expected none")
        with tempfile.TemporaryDirectory() as folder:
            new = refreshed(example, docstring, Path(folder))
        example.write_text(source.replace(docstring, new, 1), encoding="utf-8")
        print(f"{example}: {'as it was' if new == docstring else 'CHANGED'}")


if __name__ == "__main__":
    main()
