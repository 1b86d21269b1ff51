"""What each method trains, where a run starts, and that it resumes where it stopped."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import load_checkpoint
from onegen_model.errors import CheckpointError, InvalidInputError, OneGenError
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.start import start
from onegen_model.finetune.run.trainable import (
    AdapterSettings,
    Method,
    load_trained,
    merged,
    prepare_to_learn,
)
from onegen_model.finetune.run.training import export, run
from onegen_model.model import OneGenModel
from onegen_model.transcript.renderer import Renderer
from tests.conftest import MakeNetwork
from tests.support.finetuning import EXAMPLES, PASSAGES, losses_of, make_base, write_recipe


def learn(network: PreTrainedModel, renderer: Renderer, steps: int = 6) -> list[float]:
    """A few steps of AdamW with weight decay, which would move what only seems frozen."""
    collator = Collator(renderer, PASSAGES, CollatorSettings())
    objective = Objective(network)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        loss = objective(**collator(EXAMPLES[:3]))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def changed_rows(before: torch.Tensor, after: torch.Tensor) -> set[int]:
    return set((before != after).any(-1).nonzero().flatten().tolist())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("method", "top"), [("lora", 0), ("lora", 1), ("top_layers", 1)])
def test_of_the_embeddings_only_the_new_rows_learn(
    renderer: Renderer, make_network: MakeNetwork, method: Method, top: int, tied: bool
) -> None:
    network = make_network("llama", tied=tied)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ids = sorted({renderer.query_id, renderer.passage_id, *renderer.empty_frame})
    learning = prepare_to_learn(network, ids, method, AdapterSettings(4, 8, top))
    losses = learn(learning, renderer)
    assert losses[-1] < losses[0]
    after = merged(learning).state_dict()
    assert after.keys() == before.keys()
    head = changed_rows(before["lm_head.weight"], after["lm_head.weight"])
    embedded = changed_rows(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert head == set(ids)
    # Below the layers that learn nothing has a gradient: untied, the input rows stay.
    assert embedded == (set(ids) if tied or not top else set())
    same = [name for name in before if torch.equal(before[name], after[name])]
    below = [name for name in before if "layers.0." in name]
    assert set(below) <= set(same) if top else not set(below) <= set(same)
    assert "model.layers.1.mlp.up_proj.weight" not in same
    assert ("model.norm.weight" in same) == (method == "lora")


def test_full_moves_everything(renderer: Renderer, make_network: MakeNetwork) -> None:
    network = make_network("llama")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learn(prepare_to_learn(network, [], "full", AdapterSettings()), renderer, 2)
    assert [n for n, v in network.state_dict().items() if torch.equal(v, before[n])] == []


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "phi"])
def test_top_layers_are_found_in_every_family(
    renderer: Renderer, make_network: MakeNetwork, family: str
) -> None:
    learning = prepare_to_learn(
        make_network(family), [renderer.query_id], "top_layers", AdapterSettings(top_layers=1)
    )
    learnt = {name for name, p in learning.named_parameters() if p.requires_grad}
    assert any(".1." in name for name in learnt)
    assert not any(".0." in name for name in learnt)
    losses = learn(learning, renderer)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
@pytest.mark.parametrize(("method", "top"), [("lora", 0), ("lora", 1), ("full", 0)])
def test_checkpointed_activations_change_no_gradient(
    renderer: Renderer, make_network: MakeNetwork, method: Method, top: int, name: str
) -> None:
    gradients, calls = [], []
    for enabled in (False, True):
        torch.manual_seed(0)
        network = make_network("llama")
        layer = network.get_decoder().layers[1]
        seen: list[int] = []
        layer.input_layernorm.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        learning = prepare_to_learn(
            network, [renderer.query_id], method, AdapterSettings(4, 8, top)
        )
        objective = Objective(learning).train()
        if enabled:
            getattr(objective, f"{name}_enable")()
        objective(**Collator(renderer, PASSAGES)(EXAMPLES[:2]))["loss"].backward()
        calls.append(len(seen))
        gradients.append({n: p.grad for n, p in objective.named_parameters() if p.grad is not None})
    assert calls[1] == 2 * calls[0], "each layer runs again on the way back"
    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        assert torch.allclose(value, gradients[1][key], atol=1e-9), key


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora", "cross_batch_negatives": 5},
        {"method": "top_layers", "adapter": {"top_layers": 1}},
        {"method": "full", "trainer": {"gradient_accumulation_steps": 2}},
    ],
    ids=lambda changes: changes["method"],
)
def test_a_killed_run_resumes_with_the_same_losses(
    bases: dict[bool, Path], tmp_path: Path, changes: dict[str, Any], tied: bool
) -> None:
    recipe = write_recipe(tmp_path / "run", bases[tied], **changes)
    output = run(recipe)
    straight, weights = losses_of(output), OneGenModel.from_pretrained(output)
    cut = write_recipe(tmp_path / "cut", bases[tied], **changes)
    # What a kill after the third step leaves behind.
    shutil.copytree(output / "checkpoint-3", cut.output / "checkpoint-3")
    resumed = losses_of(run(cut))
    assert len(straight) == len(resumed) == 6
    for one, two in zip(straight, resumed, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert straight[-1]["loss"] < straight[0]["loss"]
    again = OneGenModel.from_pretrained(cut.output)
    passages = list(PASSAGES.values())
    assert again.embed_passages(passages) == pytest.approx(
        weights.embed_passages(passages), abs=1e-4
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("method", "adapter"), [("top_layers", {"top_layers": 1}), ("full", {})])
def test_whole_weights_load_as_a_model(
    bases: dict[bool, Path], tmp_path: Path, method: str, adapter: dict[str, int], tied: bool
) -> None:
    recipe = write_recipe(
        tmp_path / "run", bases[tied], method=method, adapter=adapter, trainer={"max_steps": 2}
    )
    output = run(recipe)
    assert CheckpointConfig.read(output).base is None
    assert not (output / "trained.safetensors").exists()
    begun = start(recipe)
    ids = torch.tensor([begun.renderer.query_ids("what is number 3?")])
    with torch.no_grad():
        untrained = begun.network.eval()(ids).logits
        load_trained(begun.network, output / "checkpoint-2")
        learnt = begun.network(ids).logits
        network = load_checkpoint(output, torch.float32, "cpu").network
        assert (network(ids).logits - learnt).abs().max() < 1e-4
    assert (learnt - untrained).abs().max() > 0.1, "there is something to save"
    head, rows = network.get_output_embeddings().weight, network.get_input_embeddings().weight
    assert (head.data_ptr() == rows.data_ptr()) == tied
    model = OneGenModel.from_pretrained(output)
    assert model.generate("what is number 3?").usage.written > 0


@pytest.mark.parametrize("tied", [True, False])
def test_merged_equals_unmerged(bases: dict[bool, Path], tmp_path: Path, tied: bool) -> None:
    recipe = write_recipe(tmp_path / "run", bases[tied], trainer={"learning_rate": 0.05})
    output = run(recipe)
    begun = start(write_recipe(tmp_path / "again", bases[tied], adapter_from=str(output)))
    ids = torch.tensor([begun.renderer.query_ids("what is number 3?")])
    with torch.no_grad():
        unmerged = begun.network.eval()(ids).logits
        whole = load_checkpoint(output, torch.float32, "cpu").network(ids).logits
        untrained = start(recipe).network.eval()(ids).logits
    assert (unmerged - whole).abs().max() < 1e-3
    assert (unmerged - untrained).abs().max() > 0.1, "there is something to merge"


@pytest.mark.parametrize(
    ("method", "tied"), [("lora", True), ("top_layers", True), ("full", False)]
)
def test_training_starts_from_a_shipped_adapter(
    bases: dict[bool, Path], tmp_path: Path, method: str, tied: bool
) -> None:
    base = bases[tied]
    first = run(write_recipe(tmp_path / "first", base))
    shipped = tmp_path / "shipped"
    export(first, shipped)
    adapter = {"rank": 4, "alpha": 8} | ({"top_layers": 1} if method == "top_layers" else {})
    second = write_recipe(
        tmp_path / "second", base, adapter_from=str(shipped), method=method, adapter=adapter
    )
    last, next_ = losses_of(first), losses_of(run(second))
    # fp16 rounds a little; the optimizer starts anew.
    assert next_[0]["loss"] < (last[0]["loss"] + last[-1]["loss"]) / 2
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        begun = start(second).network.eval()(ids).logits
        loaded = load_checkpoint(shipped, torch.float32, "cpu").network(ids).logits
    assert (begun - loaded).abs().max() < 1e-3


def test_an_adapter_that_does_not_fit_is_one_error(
    base: Path, tmp_path: Path, make_network: MakeNetwork
) -> None:
    first = run(write_recipe(tmp_path / "first", base, trainer={"max_steps": 1}))

    def error_of(kind: type[OneGenError], base: Path = base, **changes: Any) -> str:
        recipe = write_recipe(tmp_path / "second", base, **{"adapter_from": str(first), **changes})
        with pytest.raises(kind) as caught:
            start(recipe)
        return str(caught.value)

    message = error_of(CheckpointError, adapter={"rank": 8, "alpha": 16})
    assert "rank 4, not 8, alpha 8, not 16;" in message
    message = error_of(CheckpointError, adapter={"rank": 4, "alpha": 8, "top_layers": 1})
    assert "(adapter.top_layers?)" in message
    other = make_base(tmp_path / "other", make_network, hidden_size=32)
    assert "trained on another base" in error_of(CheckpointError, other)
    assert "is no OneGen adapter" in error_of(InvalidInputError, adapter_from=str(base))
    assert "is an adapter; expected whole weights" in error_of(InvalidInputError, first)


def test_a_checkpoint_of_a_run_holds_no_embedding_matrix(base: Path, tmp_path: Path) -> None:
    output = run(write_recipe(tmp_path / "run", base, trainer={"max_steps": 1, "save_steps": 1}))
    tensors = load_file(output / "checkpoint-1" / "adapter_model.safetensors")
    assert max(len(t) for name, t in tensors.items() if "token" in name) == 4


@pytest.mark.weights
def test_the_default_checkpoint_can_be_trained_on(tmp_path: Path) -> None:
    adapter = {"rank": 16, "alpha": 32}
    recipe = write_recipe(tmp_path, Path("default"), adapter_from="default", adapter=adapter)
    begun = start(recipe)
    ids = torch.tensor([begun.renderer.query_ids("Who wrote it?")])
    with torch.no_grad():
        unmerged = begun.network.eval()(ids).logits
        shipped = load_checkpoint(None, torch.float32, "cpu").network(ids).logits
    assert (unmerged - shipped).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("has_gpu", "use_cpu", "attention"),
    [(False, False, "eager"), (True, False, "sdpa"), (True, True, "eager")],
)
def test_attention_is_fused_where_a_gpu_trains(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_gpu: bool,
    use_cpu: bool,
    attention: str,
) -> None:
    recipe = write_recipe(tmp_path, base, trainer={"use_cpu": use_cpu})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert start(recipe).network.config._attn_implementation == attention
