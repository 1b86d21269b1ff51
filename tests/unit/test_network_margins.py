"""Differences of two logits, computed from two rows of the output head or from all of them."""

from typing import Any

import pytest
import torch
from torch import nn

from onegen_model.network import _head_reader, read, read_margins
from tests.conftest import FAMILIES, MakeNetwork

PAIRS = torch.tensor([[3, 4], [7, 3], [5, 5]])
# What they do around their heads.
CAPPED = {"gemma2": {"final_logit_softcapping": 3.0}}


def inputs() -> dict[str, Any]:
    return {"input_ids": torch.tensor([[5, 9, 3, 8, 2, 11]])}


@torch.inference_mode()
def compare(network: Any) -> None:
    at = torch.zeros(4, dtype=torch.long), torch.tensor([1, 2, 4, 5])
    whole = read(network, at, **inputs())
    logits = whole.logits[1:]
    wanted = logits.gather(1, PAIRS[:, :1]) - logits.gather(1, PAIRS[:, 1:])
    for _ in range(2):  # The second time it is known what the head is.
        found = read_margins(network, at, PAIRS, **inputs())
        torch.testing.assert_close(found.margins, wanted[:, 0], atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(found.hidden, whole.hidden)


@pytest.mark.parametrize("family", FAMILIES)
def test_margins_are_those_of_all_logits(make_network: MakeNetwork, family: str) -> None:
    network = make_network(family, **CAPPED.get(family, {}))
    compare(network)
    assert _head_reader(network).is_plain is (family != "gemma2")


def test_the_first_forward_decides_as_the_next_in_half_precision(make_network: MakeNetwork) -> None:
    network = make_network("llama").to(torch.bfloat16)
    at = torch.zeros(4, dtype=torch.long), torch.tensor([1, 2, 4, 5])
    with torch.inference_mode():
        first, later = (read_margins(network, at, PAIRS, **inputs()) for _ in range(2))
    assert _head_reader(network).is_plain
    assert torch.equal(first.margins, later.margins)
    assert first.margins.dtype == torch.float64


def test_a_plain_head_computes_nothing_itself(make_network: MakeNetwork) -> None:
    network = make_network("llama")
    compare(network)
    computed = []
    linear = nn.functional.linear

    def watch(value: Any, weight: Any, bias: Any = None) -> Any:
        computed.append(value.shape[-2] if weight is network.lm_head.weight else 0)
        return linear(value, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", watch)
        compare(network)
    assert sorted(set(computed)) == [0, 4]  # 4: the reference of the test
    assert computed.count(4) == 1


def test_a_hook_on_the_head_is_respected(make_network: MakeNetwork) -> None:
    network = make_network("llama")
    compare(network)
    hook = network.get_output_embeddings().register_forward_hook(
        lambda _module, _inputs, logits: logits.index_fill(-1, torch.tensor([3]), -7.0)
    )
    compare(network)
    hook.remove()
    compare(network)
