"""`trainer: {bf16: true}` calls the objective under autocast; what must stay precise there."""

import pytest
import torch

from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.loss.losses import (
    Contrastive,
    LossSettings,
    bpr,
    excluded_pairs,
    info_nce,
)
from onegen_model.finetune.loss.objective import Objective
from onegen_model.transcript.renderer import Renderer
from tests.conftest import MakeNetwork

TOWNS = {name: Passage(name, f"{name} is a small town") for name in ("alba", "brig", "cary")}


@pytest.mark.parametrize("contrastive", ["info_nce", "bpr"])
def test_cosines_are_compared_in_full_precision(
    contrastive: Contrastive, renderer: Renderer, make_network: MakeNetwork
) -> None:
    target = RetrievalTarget(("alba",), ("brig", "cary"))
    example = TrainingExample("1", "which?", (TrainingSegment("which town?", target),))
    batch = Collator(renderer, TOWNS)([example])
    objective = Objective(make_network("llama"), LossSettings(contrastive=contrastive))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = objective(**batch)
    vectors, targets = (outputs["queries"], outputs["passages"]), batch["targets"]
    if contrastive == "bpr":
        expected = bpr(*vectors, targets, batch["negatives"], 3.0)
    else:
        excluded = excluded_pairs(targets, batch["passage_keys"], batch["positive_keys"])
        expected = info_nce(*vectors, targets, excluded, 0.05)
    assert outputs["contrastive_loss"].item() == pytest.approx(expected.sum().item(), abs=1e-6)
