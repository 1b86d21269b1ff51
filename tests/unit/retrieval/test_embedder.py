"""Embedding: what cannot be embedded is refused, and the error names it."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from onegen_model import OneGenModel, Passage
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError, OneGenError
from onegen_model.retrieval.embedder import embed_ids
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.engines import PositionCounter


def model_of(network: PreTrainedModel, max_passage_tokens: int = 64) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=max_passage_tokens)
    return OneGenModel(Checkpoint(network, make_tokenizer(), config, "tiny"))


@pytest.fixture
def overflowing(make_network: MakeNetwork) -> PreTrainedModel:
    """Finite in float32, beyond the largest float16 in the last layer."""
    network = make_network("llama")
    network.get_decoder().layers[-1].mlp.down_proj.weight.data *= 1e7
    return network


def test_an_overflow_of_float16_is_refused_and_not_returned_as_a_vector(
    overflowing: PreTrainedModel,
) -> None:
    passages = [Passage("a", "short"), Passage("b", "a longer one than the other")]
    assert np.isfinite(model_of(overflowing.float()).embed_passages(passages)).all()
    model = model_of(overflowing.half())
    with pytest.raises(OneGenError, match=r"passage 'b' is not finite in torch.float16.*bfloat16"):
        model.embed_passages(passages)
    with pytest.raises(OneGenError, match=r"questions\[0\] is not finite in torch.float16"):
        model.embed_queries(["Who?"])


def test_an_overflow_elsewhere_is_not_blamed_on_float16(make_network: MakeNetwork) -> None:
    network = make_network("llama").float()
    network.get_input_embeddings().weight.data[5] = torch.nan
    with pytest.raises(OneGenError, match=r"sequences\[1\] is not finite .*likely damaged"):
        embed_ids(network, [[6, 7], [5, 6, 7]])


def test_a_question_longer_than_the_context_is_refused_before_any_forward(
    tiny_network: PreTrainedModel,
) -> None:
    model = model_of(tiny_network)
    with (
        PositionCounter(tiny_network) as counter,
        pytest.raises(InvalidInputError, match=r"questions\[1\] has \d+ tokens.*at most 512"),
    ):
        model.embed_queries(["short", "why " * 600])
    assert counter.positions == 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_passage_longer_than_the_context_is_refused_with_its_id(
    make_network: MakeNetwork, family: str
) -> None:
    model = model_of(make_network(family), max_passage_tokens=10_000)
    with pytest.raises(InvalidInputError, match=r"passage 'long' has \d+ tokens.*at most 512"):
        model.embed_passages([Passage("short", "x"), Passage("long", "far too long " * 400)])


def test_a_sequence_as_long_as_the_context_is_embedded(tiny_network: PreTrainedModel) -> None:
    assert embed_ids(tiny_network, [[5] * 512]).shape == (1, 64)
