"""The check of a network before it serves: its advice names the dtype where that is the cause."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model.engine.probe import probe
from onegen_model.errors import CheckpointError
from tests.conftest import MakeNetwork


@pytest.fixture
def overflowing(make_network: MakeNetwork) -> PreTrainedModel:
    network = make_network("llama")
    network.get_decoder().layers[-1].mlp.down_proj.weight.data *= 1e7
    return network


def test_an_overflow_of_float16_is_named_and_not_the_architecture(
    overflowing: PreTrainedModel,
) -> None:
    probe(overflowing.float())
    with pytest.raises(CheckpointError, match=r"not finite in torch.float16.*float16 overflows"):
        probe(overflowing.half())


def test_a_dtype_that_the_device_does_not_compute_in_is_named(
    make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network("llama").half()

    def refuse(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr(network.get_decoder().layers[0].mlp, "forward", refuse)
    with pytest.raises(CheckpointError, match=r"does not compute in torch.float16 on cpu.*float32"):
        probe(network)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_that_ignores_positions_is_refused_and_half_precision_suggests_float32(
    make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    network = make_network("llama").to(dtype)
    rotary = network.get_decoder().rotary_emb
    shifted = rotary.forward

    def by_length(hidden: torch.Tensor, position_ids: torch.Tensor) -> Any:
        return shifted(hidden, position_ids * hidden.shape[1] * 3)

    monkeypatch.setattr(rotary, "forward", by_length)
    with pytest.raises(CheckpointError, match="cannot be read in pieces") as seen:
        probe(network)
    assert ("float32" in str(seen.value)) == (dtype == torch.bfloat16)
