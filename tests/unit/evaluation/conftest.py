"""A folder with the small world of questions, and a random model to answer them."""

from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model import OneGenModel
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from tests.support.evaluation_world import write_world


@pytest.fixture(scope="module")
def model(tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, config, "0" * 64))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path)
    return tmp_path
