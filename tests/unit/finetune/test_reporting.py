"""`trainer.report_to`: a reporter is told what the run's own log holds, both losses apart."""

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from onegen_model.finetune.run.training import run
from tests.support.development_sets import recipe_with_dev
from tests.support.finetuning import losses_of

LOSSES = ("loss", "language_modeling_loss", "contrastive_loss")


class Reporter(TrainerCallback):
    """Stands in for TensorBoard and its like, which read `logs` as this one does."""

    told: ClassVar[list[dict[str, float]]] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.told.append(dict(logs))


def test_a_reporter_is_told_both_losses_of_training_and_of_measuring(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "fake", Reporter)
    monkeypatch.setattr(Reporter, "told", [])
    trainer = {"max_steps": 2, "report_to": "fake"}
    output = run(recipe_with_dev(tmp_path / "run", base, trainer=trainer))
    trained = [{n: log[n] for n in LOSSES} for log in Reporter.told if "loss" in log]
    assert len(trained) == 2
    assert trained == losses_of(output)
    for one in trained:
        assert one["loss"] == pytest.approx(one[LOSSES[1]] + one[LOSSES[2]], abs=1e-4)
        assert min(one.values()) > 0
    measured = [log for log in Reporter.told if "eval_loss" in log]
    assert len(measured) == 2
    assert all(math.isfinite(log[f"eval_{name}"]) for log in measured for name in LOSSES)
