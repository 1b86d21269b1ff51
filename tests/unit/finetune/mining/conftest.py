"""Towns on rivers to mine for, and a retriever that is killed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedModel

from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.mining import mine as mining
from onegen_model.finetune.mining.mine import MiningSources
from onegen_model.finetune.mining.search import Bm25CandidateRetriever, MiningQuery, Vector
from onegen_model.transcript.renderer import Renderer

TOWNS = ("alba", "brig", "cary", "dorn", "elva", "fink", "gora", "hull")
RIVERS = ("amon", "bure", "cole", "dove", "ebro", "foss", "gade", "hodder")


def corpus_lines() -> list[dict[str, str]]:
    """Of each town: its river, its mill on that river, and its church."""
    lines = []
    for town, river in zip(TOWNS, RIVERS, strict=True):
        lines += [
            {"id": f"{town}-river", "title": town, "text": f"{town} lies on the river {river}."},
            {"id": f"{town}-mill", "title": town, "text": f"The mill of {town} uses the {river}."},
            {"id": f"{town}-church", "title": town, "text": f"{town} has a church and a market."},
        ]
    return lines


def transcript(number: int, **changes: Any) -> dict[str, Any]:
    town, river = TOWNS[number % 8], RIVERS[number % 8]
    target = {"positives": [f"{town}-river"], "negatives": ["hull-mill"], "inserted": []}
    answered = f" {river}\n<FINAL-ANSWER> {river}</FINAL-ANSWER>"
    return {
        "id": number,
        "question": f"Which river flows through {town}, number {number}?",
        "segments": [
            {"text": f"On which river lies {town}?", "target": target | changes},
            {"text": answered},
        ],
    }


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def negatives(line: dict[str, Any], segment: int = 0) -> list[Any]:
    found: list[Any] = line["segments"][segment]["target"]["negatives"]
    return found


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [transcript(number) for number in range(10)])


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    return write(tmp_path / "passages.jsonl", corpus_lines())


@pytest.fixture
def sources(train: Path, passages: Path) -> MiningSources:
    return MiningSources(open_data("transcripts", train, passages))


class Failing:
    """A retriever that is killed after some blocks."""

    def __init__(self, inner: Bm25CandidateRetriever, calls: int) -> None:
        self.corpus, self.name, self.floor = inner.corpus, inner.name, inner.floor
        self._inner, self._calls = inner, calls

    def score(self, queries: Sequence[MiningQuery]) -> Iterator[Vector | None]:
        if not self._calls:
            raise KeyboardInterrupt
        self._calls -= 1
        return self._inner.score(queries)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "_BLOCK", 3)


@pytest.fixture
def model(tiny_network: PreTrainedModel, renderer: Renderer) -> Any:
    return SimpleNamespace(network=tiny_network, renderer=renderer, fingerprint="f" * 64)
