"""A folder with texts and entities, and a random model that links."""

from pathlib import Path

import pytest

from onegen_model import OneGenModel, PassageIndex
from onegen_model.evaluation.linking import evaluation as module
from tests.support.evaluation_world import write_lines
from tests.support.linking_evaluation import RECORDS, TEXTS, Words
from tests.support.linking_model import ENTITIES, linking_model


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: OneGenModel) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SentenceEncoder", Words)
    write_lines(tmp_path / "texts.jsonl", TEXTS)
    write_lines(tmp_path / "entities.jsonl", RECORDS)
    PassageIndex.build(model, ENTITIES).save("my.entities")
    return tmp_path
