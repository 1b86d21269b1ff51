"""The measurements of a load as Markdown."""

from typing import Any

from benchmarks.report import markdown

_TIMES = {
    "first token": "first_token_seconds",
    "between tokens": "between_tokens_seconds",
    "whole stream": "stream_seconds",
}
_COUNTED = {
    "resident": "resident MiB",
    "threads": "threads",
    "handles": "file handles",
    "running": "slots in use",
    "waiting": "waiting",
}


def speed(measured: dict[str, Any]) -> str:
    """Streams together beside the same ones one by one; seconds as their clients see them."""
    rows = []
    for name in ("one by one", "together"):
        row = measured[name]
        times = [_pair(row[field]) for field in _TIMES.values()]
        rows.append([name, row["streams"], *times, row["tokens_per_second"]])
    heads = ["", "streams", *(f"{name}, p50 / p95 s" for name in _TIMES), "tokens per second"]
    return markdown(heads, rows)


def counts(measured: dict[str, Any]) -> str:
    """What the process holds at rest: before the load, after it, and after a full queue."""
    rows = [
        [name, *(round(found[field]) for field in _COUNTED)]
        for name, found in measured["counts"].items()
    ]
    return markdown(["", *_COUNTED.values()], rows)


def _pair(found: dict[str, float] | None) -> str:
    return f"{found['p50']:.3g} / {found['p95']:.3g}" if found else "-"
