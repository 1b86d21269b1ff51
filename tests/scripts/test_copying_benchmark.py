"""The copying benchmark on networks that copy in a known way."""

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.copying import make_text, measure

VOCABULARY = 97


def model(certainty: float) -> Any:
    """A model whose logit of the next token is `certainty`, and 0 of all others."""

    def network(rows: torch.Tensor) -> SimpleNamespace:
        logits = torch.zeros(*rows.shape, VOCABULARY)
        following = rows.roll(-1, dims=1).unsqueeze(-1)
        return SimpleNamespace(logits=logits.scatter(2, following, certainty))

    network.device = "cpu"  # type: ignore[attr-defined]
    renderer = SimpleNamespace(text_ids=lambda text: [ord(c) % VOCABULARY for c in text])
    return SimpleNamespace(network=network, renderer=renderer)


@pytest.mark.parametrize(("certainty", "right", "loss"), [(50, 1, 0), (-50, 0, 50)])
def test_predictable_tokens_are_copied(certainty: float, right: float, loss: float) -> None:
    texts = [make_text(random.Random(seed)) for seed in range(3)]
    share, nats = measure(model(certainty), texts)
    assert share.value == right
    assert nats.value == pytest.approx(loss + (math.log(VOCABULARY - 1) if loss else 0), abs=1e-3)


def test_only_the_second_copy_counts() -> None:
    share, _ = measure(model(50), ["Ada"])
    assert share.count == len(" Ada.") - 3
