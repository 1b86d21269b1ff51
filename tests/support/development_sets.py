"""A development set, a recipe that measures on it after every step, and what it measured."""

import json
from pathlib import Path
from typing import Any

from onegen_model.finetune.run.recipe import Recipe
from tests.support.finetuning import EXAMPLES, plain, write_recipe

EVERY_STEP = {"eval_steps": 1, "save_steps": 1, "max_steps": 12, "learning_rate": 0.02}


def write_dev(folder: Path, **changes: Any) -> Path:
    """Five examples: other questions, one of them longer, with the passages of training."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [plain(e) | {"id": f"d{e.id}", "question": f"what about {e.id}?"} for e in EXAMPLES[:5]]
    rows[4]["segments"][1]["text"] = " on the river by the mill\n<FINAL-ANSWER> x</FINAL-ANSWER>"
    file = folder / "dev.jsonl"
    file.write_text("".join(json.dumps(row | changes) + "\n" for row in rows), encoding="utf-8")
    return file


def recipe_with_dev(folder: Path, base: Path, **changes: Any) -> Recipe:
    trainer = {**EVERY_STEP, **changes.pop("trainer", {})}
    changes = {"dev": str(write_dev(folder)), "dev_metric": "contrastive_loss", **changes}
    return write_recipe(folder, base, trainer=trainer, **changes)


def last_of(output: Path) -> Path:
    return max(output.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))


def state_of(output: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((last_of(output) / "trainer_state.json").read_text())
    return state


def dev_values(output: Path, metric: str = "contrastive_loss") -> list[float]:
    return [
        log[name] for log in state_of(output)["log_history"] if (name := f"eval_{metric}") in log
    ]
