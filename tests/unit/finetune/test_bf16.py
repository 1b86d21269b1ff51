"""`dtype: bfloat16` with `trainer: {bf16: true}`: the run of fp32, nearly, and fp32 on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from onegen_model.finetune.run.training import run
from onegen_model.model import OneGenModel
from tests.support.finetuning import PASSAGES, losses_of, write_recipe

HALF: dict[str, Any] = {"dtype": "bfloat16", "trainer": {"bf16": True}}


@pytest.fixture
def base(bases: dict[bool, Path]) -> Path:
    """Tied, as the default base is."""
    return bases[True]


@pytest.mark.parametrize(
    ("half", "saved"),
    [
        (HALF, "adapter_model.safetensors"),
        ({"method": "full", "trainer": {"bf16": True}}, "trained.safetensors"),
    ],
    ids=["lora", "full"],
)
def test_bf16_learns_what_fp32_learns_and_keeps_it_in_fp32(
    base: Path, tmp_path: Path, half: dict[str, Any], saved: str
) -> None:
    """At temperature 1: at .05 the cosines' own steps of .004 would be .08 in the loss."""
    method, steps = half.get("method", "lora"), {"max_steps": 3, "learning_rate": 1e-3}
    whole = write_recipe(tmp_path / "whole", base, temperature=1.0, method=method, trainer=steps)
    changes = half | {"temperature": 1.0, "trainer": steps | half["trainer"]}
    output = run(write_recipe(tmp_path / "half", base, **changes))
    exact, found = losses_of(run(whole)), losses_of(output)
    assert len(found) == len(exact) == 3
    for one, two in zip(exact, found, strict=True):
        assert two == pytest.approx(one, abs=2e-2)
    assert exact != found, "it was computed in something else"
    assert exact[-1]["loss"] < exact[0]["loss"] - 4e-2, "it learns more than the tolerance"
    tensors = load_file(output / "checkpoint-3" / saved)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    rounded = [name for name, t in tensors.items() if torch.equal(t, t.bfloat16().float())]
    assert rounded == [], "a step is often smaller than the steps of bfloat16"


def test_a_killed_run_in_bf16_resumes_with_the_same_losses(base: Path, tmp_path: Path) -> None:
    output = run(write_recipe(tmp_path / "run", base, **HALF))
    cut = write_recipe(tmp_path / "cut", base, **HALF)
    shutil.copytree(output / "checkpoint-3", cut.output / "checkpoint-3")
    run(cut)
    straight, resumed = losses_of(output), losses_of(cut.output)
    assert len(straight) == len(resumed) == 6
    for one, two in zip(straight, resumed, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    passages = list(PASSAGES.values())
    vectors = [
        OneGenModel.from_pretrained(folder).embed_passages(passages)
        for folder in (output, cut.output)
    ]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-5)
