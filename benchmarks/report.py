"""The dated JSON of a benchmark, with the machine that it ran on."""

import argparse
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import WORLD
from onegen_model import OneGenModel
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.table import markdown

__all__ = ["machine", "markdown", "save", "save_without_model"]

RESULTS = Path(__file__).parent / "results"


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
    """Write `benchmarks/results/<name>-<date>.json`; returns its path.

    `<name>-world-…` is over the invented world, `…-<fingerprint>.json` of a named `--model`.
    """
    facts = {
        "fingerprint": model.fingerprint,
        "dtype": str(model.network.dtype).removeprefix("torch."),
        "device": str(model.network.device),
    }
    which = f"-{model.fingerprint[:8]}" if getattr(options, "model", None) else ""
    cut = "-world" if getattr(options, "data", None) == WORLD else ""
    return _write(f"{name}{cut}", which, options, {**facts, **measured})


def save_without_model(name: str, options: argparse.Namespace, measured: dict[str, Any]) -> Path:
    """The same for what is measured without a model, or in other processes."""
    return _write(name, "", options, measured)


def _write(name: str, which: str, options: argparse.Namespace, measured: dict[str, Any]) -> Path:
    today = date.today().isoformat()
    content = {
        "date": today,
        "onegen": version("onegen"),
        "machine": machine(),
        "libraries": {name: version(name) for name in ("torch", "transformers")},
        "settings": {key: _plain(value) for key, value in vars(options).items()},
        **measured,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{today}{which}.json"
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_json) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def _plain(value: object) -> object:
    """A path by its name alone: where it lay is of no use elsewhere."""
    return value.name if isinstance(value, Path) else value


def _json(value: object) -> object:
    if isinstance(value, Estimate):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} is not JSON")
