"""Activation checkpointing switched on in a recipe: the same losses, each layer computed twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from onegen_model.finetune.run.training import run
from tests.support.finetuning import losses_of, write_recipe


@pytest.fixture
def base(bases: dict[bool, Path]) -> Path:
    """Tied, as the default base is."""
    return bases[True]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each time that the MLP of a layer is computed to learn."""
    seen: list[bool] = []
    forward = LlamaMLP.forward

    def counted(self: LlamaMLP, hidden: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(True)
        return forward(self, hidden)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    return seen


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("gradient_checkpointing", {"adapter": {"rank": 4, "alpha": 8}}),
        ("activation_checkpointing", {"adapter": {"rank": 4, "alpha": 8, "top_layers": 1}}),
        ("activation_checkpointing", {"method": "full"}),
    ],
    ids=["lora", "top lora", "full"],
)
def test_a_run_with_checkpointed_activations_has_the_same_losses(
    base: Path, tmp_path: Path, calls: list[bool], key: str, changes: dict[str, Any]
) -> None:
    curves, counts = [], []
    for name, trainer in (("plain", {}), ("checkpointed", {key: True})):
        calls.clear()
        recipe = write_recipe(tmp_path / name, base, **changes, trainer={"max_steps": 3, **trainer})
        curves.append(losses_of(run(recipe)))
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0] > 0, "each layer runs again on the way back"
    assert len(curves[0]) == len(curves[1]) == 3
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
