"""What a recipe says of the losses is what the run computes: its first step, worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.start import start
from onegen_model.finetune.run.training import run
from tests.support.finetuning import EXAMPLES, PASSAGES, losses_of, write_recipe

ONE_STEP = {"max_steps": 1, "save_steps": 1, "per_device_train_batch_size": len(EXAMPLES)}


@pytest.fixture(scope="module")
def cosines(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[float], int]]:
    """Of each query before the first step: the cosines with all passages, its positive first, and
    which of them is its one hard negative."""
    begun = start(write_recipe(tmp_path_factory.mktemp("run"), base))
    batch = Collator(begun.renderer, PASSAGES)(EXAMPLES)
    with torch.no_grad():
        outputs = Objective(begun.network)(**batch)
    found = []
    for query, target, negatives in zip(
        outputs["queries"], batch["targets"].tolist(), batch["negatives"].tolist(), strict=True
    ):
        scores = (outputs["passages"] @ query).tolist()
        order = [target, *(column for column in range(len(scores)) if column != target)]
        assert sum(negatives) == 1
        found.append(([scores[column] for column in order], order.index(negatives.index(True))))
    assert [len(scores) for scores, _ in found] == [6] * 6
    return found


def info_nce(scores: list[float], _: int, temperature: float) -> float:
    return math.log(sum(math.exp((score - scores[0]) / temperature) for score in scores))


def bpr(scores: list[float], negative: int, scale: float) -> float:
    return math.log1p(math.exp(-scale * (scores[0] - scores[negative])))


@pytest.mark.parametrize(
    ("changes", "loss", "value"),
    [
        ({}, info_nce, 0.05),
        ({"temperature": 0.3}, info_nce, 0.3),
        ({"contrastive": "bpr"}, bpr, 3.0),
        ({"contrastive": "bpr", "bpr_scale": 9.0, "temperature": 0.3}, bpr, 9.0),
        ({"contrastive_weight": 0.25, "language_modeling_weight": 3.0}, info_nce, 0.05),
    ],
    ids=lambda given: ", ".join(given) if isinstance(given, dict) else "",
)
def test_the_first_step_has_the_loss_that_the_recipe_names(
    base: Path, tmp_path: Path, cosines: Any, changes: dict[str, Any], loss: Any, value: float
) -> None:
    (logged,) = losses_of(run(write_recipe(tmp_path, base, trainer=ONE_STEP, **changes)))
    expected = sum(loss(scores, negative, value) for scores, negative in cosines) / len(cosines)
    assert logged["contrastive_loss"] == pytest.approx(expected, abs=1e-4)
    total = changes.get("language_modeling_weight", 1.0) * logged["language_modeling_loss"]
    total += changes.get("contrastive_weight", 1.0) * logged["contrastive_loss"]
    assert logged["loss"] == pytest.approx(total, abs=1e-4)
