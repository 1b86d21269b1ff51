"""The tiny random model in a folder, as users have theirs; for the tests of all integrations."""

from pathlib import Path
from typing import Any

import torch

from onegen_model import OneGenModel
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from tests.conftest import MakeNetwork, make_tokenizer


def save_model(
    make_network: MakeNetwork, folder: Path, *, noise: float = 0.0, **config_values: Any
) -> Path:
    """`noise` makes another model of the same shape."""
    network, tokenizer = make_network("llama", **config_values), make_tokenizer()
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        weight.data += noise * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    # Under a grammar a random model would hardly ever end a string.
    network.get_output_embeddings().weight.data[tokenizer.convert_tokens_to_ids('"')] *= 2.2
    config = CheckpointConfig(max_passage_tokens=64)
    OneGenModel(Checkpoint(network, tokenizer, config, "")).save_pretrained(folder)
    return folder
