"""The index of an evaluation: made once, shared, and opened only if it is needed."""

import shutil
from pathlib import Path

import pytest

from onegen_model import OneGenModel
from onegen_model.cli import main
from onegen_model.evaluation.score.scores import HOPS, QUALITY
from tests.support.evaluation_world import evaluate, values

pytestmark = pytest.mark.usefixtures("here")

RUN = ("--task", "multihop", "--corpus", "corpus.jsonl", "--top-k", "1", "--out", "run")


def test_an_index_is_made_once_and_shared(
    model: OneGenModel, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(model, *RUN, "--index", "shared")
    monkeypatch.setattr(OneGenModel, "embed_passages", None)  # nothing is embedded again
    assert evaluate(model, *RUN[:-1], "other", "--index", "shared") == 0
    assert evaluate(model, *RUN[:2], "--index", "shared", "--out", "third") == 0
    assert values(QUALITY, "third", "third")["questions"] == 2
    assert not (here / "other" / "index").exists()


def test_a_baseline_is_added_without_the_index(model: OneGenModel, here: Path) -> None:
    evaluate(model, *RUN)
    before = values(QUALITY, "run")
    shutil.rmtree(here / "run" / "index")
    assert evaluate(model, *RUN, "--baselines", "bm25") == 0
    assert not (here / "run" / "index").exists()
    assert values(QUALITY, "run") == before
    assert values(HOPS, "run: BM25 (span), hop 1")["recall@1"] == 1


def test_a_corpus_embedded_before_is_the_index(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_path: str | None, _dtype: str) -> OneGenModel:
        return model

    assert main(["embed", "corpus.jsonl", "--out", "embedded"], load) == 0
    monkeypatch.setattr(OneGenModel, "embed_passages", None)  # nothing is embedded again
    assert evaluate(model, *RUN, "--index", "embedded") == 0
    assert values(QUALITY, "run")["questions"] == 2
