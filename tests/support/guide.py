"""A page of the documentation as a story: its requests, and what it shows behind them."""

import contextlib
import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
ADDRESS = "http://127.0.0.1:8000"
_BLOCK = re.compile(r"```(\w+)\n(.*?)```(?:\s*```(json|text)\n(.*?)```)?", re.DOTALL)
# What differs from run to run: ids, times, and the last digits of scores.
_CHANGING = re.compile(r'[0-9a-f]{32}|(?<="created": )\d+|\d+\.\d+')


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code; `shown` is the output that follows it, empty for none."""

    language: str
    code: str
    shown: str = ""


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page below `docs/`; those of output belong to the block before."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(one[1], one[2], one[4] or "") for one in _BLOCK.finditer(text)]


def story(page: str) -> list[Block]:
    """The requests of a page, in order: `curl` and Python with a client."""
    return [
        one
        for one in blocks_of(page)
        if (one.language == "sh" and one.code.startswith("curl"))
        or (one.language == "python" and "onegen_integrations.server" not in one.code)
    ]


def told(blocks: list[Block], url: str, folder: Path) -> Iterator[tuple[Block, str]]:
    """Run the blocks one after the other at `url`, in a folder; each with its output."""
    namespace: dict[str, Any] = {}
    for block in blocks:
        code = block.code.replace(ADDRESS, url)
        run = _run_shell if block.language == "sh" else _run_python
        yield block, run(code, folder, namespace).replace(url, ADDRESS)


def steady(output: str) -> str:
    """An output without what differs from run to run; JSON in one layout."""
    with contextlib.suppress(ValueError):
        output = json.dumps(json.loads(output), sort_keys=True)
    return _CHANGING.sub("#", output).strip()


def _run_shell(code: str, folder: Path, _: dict[str, Any]) -> str:
    done = subprocess.run(
        ["bash", "-euc", code],
        cwd=folder,
        env={**os.environ, "ONEGEN_API_KEY": "any"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (code, done.stderr)
    return done.stdout


def _run_python(code: str, folder: Path, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        exec(compile(code, "guide", "exec"), namespace)
    return printed.getvalue()
