"""Markdown tables, proportions with standard errors, and the dated JSON beside them."""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import SMALL_CUT
from onegen_model import OneGenModel

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Share:
    """A mean over `count` cases; its standard error treats the cases of one question as one."""

    value: float
    standard_error: float
    count: float

    @classmethod
    def of(cls, groups: Iterable[tuple[float, float]]) -> "Share":
        """`groups` holds (hits, cases) of each question."""
        groups = list(groups)
        cases = sum(n for _, n in groups)
        if not cases:
            return cls(0.0, 0.0, 0)
        mean = sum(hits for hits, _ in groups) / cases
        spread = sum((hits - mean * n) ** 2 for hits, n in groups)
        return cls(mean, sqrt(spread) / cases, cases)

    def __str__(self) -> str:
        return f"{self.value:.2f} ±{self.standard_error:.2f}" if self.count else "-"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    name = text.partition("model name\t: ")[2].partition("\n")[0]
    return {
        "cpu": name or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def save(
    name: str, model: OneGenModel, options: argparse.Namespace, measured: dict[str, Any]
) -> Path:
    """Write `benchmarks/results/<name>-<date>.json`; of the small cut, `<name>-small-…`."""
    today = date.today().isoformat()
    content = {
        "date": today,
        "onegen": version("onegen"),
        "fingerprint": model.fingerprint,
        "dtype": str(model.network.dtype).removeprefix("torch."),
        "device": str(model.network.device),
        "machine": machine(),
        "libraries": {name: version(name) for name in ("torch", "transformers")},
        "settings": {key: _plain(value) for key, value in vars(options).items()},
        **measured,
    }
    RESULTS.mkdir(exist_ok=True)
    cut = "-small" if getattr(options, "data", None) == SMALL_CUT else ""
    path = RESULTS / f"{name}{cut}-{today}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=_json) + "\n")
    return path


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _json(value: object) -> object:
    if isinstance(value, Share):
        return {"value": value.value, "se": value.standard_error, "n": value.count}
    raise TypeError(f"{type(value).__name__} is not JSON")
