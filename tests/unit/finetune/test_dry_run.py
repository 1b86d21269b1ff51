"""The estimate of a dry run: counts and bytes worked out by hand for a tiny Llama."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from onegen_model.finetune.run.dry_run import activation_numbers, estimate_memory, preview
from onegen_model.finetune.run.trainable import AdapterSettings, Method, prepare_to_learn
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.finetuning import write_recipe

WIDTH, KEYS, MLP, RANK = 64, 32, 96, 4
# Queries and output, keys and values, the three of the MLP: numbers of a layer, and of its LoRA.
LINEAR = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * MLP
LORA = RANK * (2 * (WIDTH + WIDTH) + 2 * (WIDTH + KEYS) + 3 * (WIDTH + MLP))
LAYER = LINEAR + 2 * WIDTH  # with its two norms


@dataclass(frozen=True)
class Case:
    """A recipe, and by hand: what learns beside embeddings, what of it the adapter adds."""

    changes: dict[str, Any]
    learnt: int
    added: int
    frozen_bytes: int = 4


BF16: dict[str, Any] = {"dtype": "bfloat16", "trainer": {"bf16": True}}
CASES = {
    "lora": Case({}, 2 * LORA, 2 * LORA),
    "lora in bfloat16": Case(BF16, 2 * LORA, 2 * LORA, frozen_bytes=2),
    "lora in the last layer": Case({"adapter": {"rank": RANK, "top_layers": 1}}, LORA, LORA),
    "last layer": Case({"method": "top_layers", "adapter": {"top_layers": 1}}, LAYER + WIDTH, 0),
    "full": Case({"method": "full"}, 2 * LAYER + WIDTH, 0),
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_counts_what_learns_and_its_bytes(
    bases: dict[bool, Path], tmp_path: Path, name: str, tied: bool
) -> None:
    """Of the embeddings learn four copied rows, or all where everything does."""
    case, matrices = CASES[name], 1 if tied else 2
    embeddings, rows = (n * matrices * WIDTH for n in (len(make_tokenizer()), 4))
    base = 2 * LAYER + WIDTH + embeddings
    added = case.added + (0 if name == "full" else rows)
    # Below frozen layers the input rows of an untied base get no gradient.
    upper = 4 * WIDTH if "last layer" in name else rows
    learnt = case.learnt + (embeddings if name == "full" else upper)
    found = preview(write_recipe(tmp_path, bases[tied], **case.changes))
    assert (found.trainable, found.parameters) == (learnt, base + added)
    memory = found.memory
    assert memory.weights == case.frozen_bytes * base + 4 * added
    assert memory.gradients == 4 * learnt
    assert memory.optimizer == 2 * 4 * learnt, "two moments"


@pytest.mark.parametrize("key", ["gradient_checkpointing", "activation_checkpointing"])
def test_a_dry_run_knows_checkpointed_activations(
    bases: dict[bool, Path], tmp_path: Path, key: str
) -> None:
    plain, less = (
        preview(write_recipe(tmp_path, bases[True], trainer=trainer)).memory
        for trainer in ({}, {key: True})
    )
    assert less.activations < plain.activations
    assert replace(less, activations=0) == replace(plain, activations=0)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_estimate_of_checkpointed_activations_is_what_autograd_keeps(
    make_network: MakeNetwork, tmp_path: Path, method: Method
) -> None:
    """Beside one layer, which is computed again: see `test_finetune_cli.py` for its numbers."""
    network = make_network("llama", num_hidden_layers=16)
    network.set_attn_implementation("eager")
    network = prepare_to_learn(network, [1], method, AdapterSettings()).train()
    network.activation_checkpointing_enable()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, 300, (3, 60))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network.get_decoder()(input_ids=ids, use_cache=False)
    chunk = {"input_ids": ids, "labels": []}
    arguments = TrainingArguments(str(tmp_path), activation_checkpointing=True, use_cpu=True)
    memory = estimate_memory(network, {"transcripts": [chunk], "passages": []}, arguments)
    one_layer = activation_numbers(network.config, chunk, 1)
    assert outputs.last_hidden_state.requires_grad
    assert 0.7 < (memory.activations / 8 - one_layer) / (sum(kept.values()) / 8) < 1.4
