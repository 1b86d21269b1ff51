"""The side-by-side benchmark of the frameworks, on a tiny random model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import frameworks
from benchmarks.data import GoldQuestion
from benchmarks.frameworks import FRAMEWORKS, Asked, SideResult
from benchmarks.frameworks_setup import CLASSIC, OURS, Pipeline, Setup, embedded_text
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, Passage
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from tests.conftest import MakeNetwork, make_tokenizer

pytest.importorskip("langchain_chroma")
pytest.importorskip("langchain_huggingface")
pytest.importorskip("llama_index.llms.huggingface")
pytest.importorskip("llama_index.vector_stores.chroma")

PASSAGES = tuple(Passage(str(n), f"the river and the mill of page {n}", f"P{n}") for n in range(6))
QUESTION = "What is the capital of Kethmark?"
Open = Callable[[str, str], Pipeline]


class CountingEncoder:
    """Counts words; needs no weights."""

    def __init__(self) -> None:
        self.positions = 0

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        self.positions += sum(len(text.split()) for text in texts)
        return np.ones((len(texts), 3), np.float32)


@pytest.fixture(scope="module")
def folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    network = make_network("llama", max_position_embeddings=4096)
    config = CheckpointConfig(max_passage_tokens=64)
    OneGenModel(Checkpoint(network, make_tokenizer(), config, "")).save_pretrained(folder)
    return folder


@pytest.fixture
def build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_side(framework: str, side: str) -> Pipeline:
        module = f"benchmarks.frameworks_{framework.replace('-', '_')}"
        monkeypatch.setattr(f"{module}.MiniLM", CountingEncoder)
        shared_model(folder).engine.forget()
        return frameworks.build(Setup(framework, side, PASSAGES, 2, 24, str(folder), str(folder)))

    return open_side


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_ours_keeps_what_it_has_read_and_asks_no_second_model(framework: str, build: Open) -> None:
    pipeline = build(framework, OURS)
    asked = frameworks.ask(pipeline, QUESTION)
    assert asked.encoder_positions == 0
    assert asked.positions > 24
    assert 0 < asked.first_text <= asked.answer_begins <= asked.seconds
    again = frameworks.ask(pipeline, QUESTION)
    assert again.text == asked.text
    assert again.positions < asked.positions  # What the cache still holds is not read again.


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_classic_chain_asks_the_encoder_and_reads_prompt_and_answer(
    framework: str, build: Open
) -> None:
    pipeline = build(framework, CLASSIC)
    indexed = pipeline.encoder_positions()
    asked = frameworks.ask(pipeline, QUESTION)
    assert indexed == sum(len(embedded_text(one).split()) for one in PASSAGES)
    assert asked.encoder_positions == len(QUESTION.split())
    assert frameworks.ask(pipeline, QUESTION).positions == asked.positions


def test_a_table_has_both_sides_and_the_best_gold_answer() -> None:
    question = GoldQuestion(
        "q", "2wiki", "bridge", QUESTION, ("Grellenstadt", "Grellenstad"), (), ()
    )
    answers = [Asked(text, 10, 0, 0.5, 1.0, 2.0) for text in ("Grellenstad", "in Grellenstad")]
    results = {
        CLASSIC: SideResult([answers[1]], indexing_seconds=1.0, memory=900),
        OURS: SideResult([answers[0]], indexing_seconds=2.0, memory=800),
    }
    head, _, classic, ours = frameworks.table("langchain", results, [question]).splitlines()
    assert head.startswith("| langchain | LLM positions |")
    assert "| 0.00 | 0.67 | 1.00 |" in classic
    assert "| 1.00 | 1.00 | 1.00 |" in ours
