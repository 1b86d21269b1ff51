"""`trainer.report_to`: a reporter receives the entries of the run's log, with both losses."""

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

    reported: ClassVar[list[dict[str, float]]] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.reported.append(dict(logs))


def test_a_reporter_receives_both_losses_of_training_and_of_evaluation(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "fake", Reporter)
    monkeypatch.setattr(Reporter, "reported", [])
    trainer = {"max_steps": 2, "report_to": "fake"}
    output = run(recipe_with_dev(tmp_path / "run", base, trainer=trainer))
    trained = [{n: log[n] for n in LOSSES} for log in Reporter.reported if "loss" in log]
    assert len(trained) == 2
    assert trained == losses_of(output)
    for one in trained:
        assert one["loss"] == pytest.approx(one[LOSSES[1]] + one[LOSSES[2]], abs=1e-4)
        assert min(one.values()) > 0
    measured = [log for log in Reporter.reported if "eval_loss" in log]
    assert len(measured) == 2
    assert all(math.isfinite(log[f"eval_{name}"]) for log in measured for name in LOSSES)
