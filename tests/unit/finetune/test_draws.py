"""Random choices for an example differ between epochs and are reproducible within one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingExample, TrainingSegment
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.trainer import JointTrainer
from onegen_model.finetune.run.training import run
from onegen_model.transcript.renderer import Renderer
from tests.support.finetuning import EXAMPLES, NAMES, PASSAGES, plain, write_recipe


def drawn(batch: dict[str, Any]) -> tuple[str, ...]:
    return (*batch["ids"], *map(str, sorted(batch["passage_keys"].tolist())))


def test_one_example_alone_meets_other_negatives_in_other_epochs(renderer: Renderer) -> None:
    target = RetrievalTarget(NAMES[:1], NAMES[1:])
    asked = TrainingExample("1", "q?", (TrainingSegment("where?", target), TrainingSegment(" x")))
    collator = Collator(renderer, PASSAGES, CollatorSettings())
    epochs = []
    for epoch in (*range(8), *range(8)):
        collator.set_epoch(epoch)
        epochs.append(drawn(collator([asked])))
    assert len(set(epochs)) > 2
    assert epochs[:8] == epochs[8:]


def recipe_of_many_negatives(folder: Path, base: Path, **trainer: Any) -> Recipe:
    alone = {"per_device_train_batch_size": 1, "max_steps": 18, "save_steps": 8}
    recipe = write_recipe(folder, base, trainer=alone | trainer)
    rows = [plain(example) for example in EXAMPLES]
    for row in rows:
        target = row["segments"][0]["target"]
        target["negatives"] = [name for name in NAMES if name not in target["positives"]]
    recipe.train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return recipe


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What each step of the runs is about to learn from."""
    found: list[tuple[str, ...]] = []
    step = JointTrainer.training_step

    def noted(self: JointTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        found.append(drawn(inputs))
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(JointTrainer, "training_step", noted)
    return found


def test_a_run_draws_the_same_with_workers_and_after_a_kill(
    base: Path, tmp_path: Path, seen: list[tuple[str, ...]]
) -> None:
    straight = recipe_of_many_negatives(tmp_path / "straight", base)
    run(straight)
    expected = list(seen)
    assert len(expected) == 18
    by_example = {name: {row for row in expected if row[0] == name} for name in "012345"}
    assert sum(map(len, by_example.values())) > 9, "the draws of three epochs differ"
    seen.clear()
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    run(recipe_of_many_negatives(tmp_path / "workers", base, **workers))
    assert seen == expected
    seen.clear()
    cut = recipe_of_many_negatives(tmp_path / "cut", base)
    shutil.copytree(straight.output / "checkpoint-8", cut.output / "checkpoint-8")
    run(cut)
    assert seen == expected[8:]
