"""`onegen serve` in a process of its own, and what can be counted of it from outside."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY = "key-of-the-benchmark"
_STOP_SECONDS = 60
_GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a leak would raise. Memory in MiB; `health` is the seconds of a GET /health."""

    resident: float
    anonymous: float
    threads: int
    handles: int
    running: int
    waiting: int
    cache_usage: float
    health: float


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready, and the process that it is in."""

    url: str
    pid: int

    def counts(self) -> Counts:
        """Of this moment; the connection that asks is closed before handles are counted."""
        begun = time.perf_counter()
        self._get("/health")
        health = time.perf_counter() - begun
        running, waiting, usage = self.gauges()
        folder = Path("/proc") / str(self.pid)
        status = (folder / "status").read_text(encoding="ascii")
        lines = dict(line.split(":", 1) for line in status.splitlines())
        resident, anonymous = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
        threads, handles = int(lines["Threads"]), len(list((folder / "fd").iterdir()))
        return Counts(
            resident, anonymous, threads, handles, int(running), int(waiting), usage, health
        )

    def gauges(self) -> list[float]:
        """Requests that run, requests that wait, and the share of the cache that is in use."""
        text = self._get("/metrics")
        found = [re.search(rf"^onegen:{name}{{.*}} (.*)$", text, re.MULTILINE) for name in _GAUGES]
        return [float(one[1]) if one else 0.0 for one in found]

    def metric(self, name: str) -> float:
        """The sum of a counter over its labels."""
        found = re.findall(rf"^onegen:{name}{{.*}} (.*)$", self._get("/metrics"), re.MULTILINE)
        return sum(map(float, found))

    def settle(self, seconds: float) -> Counts:
        """The counts once nothing runs and waits, and connections had time to close."""
        until = time.monotonic() + _STOP_SECONDS
        while any(self.gauges()[:2]) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(seconds)
        return self.counts()

    def _get(self, path: str) -> str:
        asked = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked, timeout=120) as reply:
            return str(reply.read().decode())


def log_of(work: Path) -> Path:
    """What the server of a folder has logged."""
    return work / "server.log"


@contextmanager
def serving(arguments: Sequence[str], work: Path) -> Iterator[Server]:
    """Start a server on a free port, and stop it; files it keeps are in `work`."""
    log = log_of(work)
    command = [sys.executable, "-m", "onegen_model.cli", "serve", "--json", "--port", "0"]
    command += ["--storage", str(work / "storage"), *arguments]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "ONEGEN_API_KEY": KEY},
        )
        try:
            yield Server(_ready(process, log), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "serving":
            return str(event["url"])
    raise RuntimeError(f"The server did not start: {log.read_text(encoding='utf-8')}")
