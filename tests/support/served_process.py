"""`onegen serve` in a process of its own, as operators run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LIMIT = 120


@dataclass
class ServedProcess:
    """A running server; `process` is killed at the end of `served`."""

    process: "subprocess.Popen[str]"

    def event(self) -> dict[str, Any]:
        """The next line of `--json`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=_LIMIT)[1]
        event: dict[str, Any] = json.loads(line)
        return event

    def stop(self, kind: int = signal.SIGTERM) -> None:
        self.process.send_signal(kind)

    def ended(self) -> tuple[int, str]:
        """The exit status, and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=_LIMIT)
        return self.process.returncode, errors


@contextmanager
def served(
    *arguments: str, script: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[ServedProcess]:
    """Start `onegen serve` on a free port; `script` is Python that runs before it."""
    code = f"import sys\nfrom onegen_model.cli import main\n{script or ''}\nsys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--json", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "ONEGEN_API_KEY": "",
            **(environment or {}),
        },
    )
    try:
        yield ServedProcess(process)
    finally:
        process.kill()
        process.communicate()
