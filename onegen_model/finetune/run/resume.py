"""Whether a run that was begun may go on: what it was begun with, and what it saved."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onegen_model.checkpoint.config import ADAPTER_FILE
from onegen_model.checkpoint.default_base import file_sha256
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.start import Start, adapter_problems, find_source
from onegen_model.finetune.run.trainable import (
    TRAINED_FILE,
    has_adapter,
    learning_shapes,
    saved_shapes,
)

# What is trained on, and towards what, in `output`.
RUN_FILE = "run.json"
# What was not written down at first: a run from before goes on without it.
_ADDED = ("base_sha256", "adapter_from_sha256")


def require_same_run(begun: Start, recipe: Recipe, folder: Path) -> None:
    """Raise CheckpointError for a checkpoint that a changed recipe cannot go on from."""
    is_adapter = has_adapter(begun.network)
    file = folder / (ADAPTER_FILE if is_adapter else TRAINED_FILE)
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    best = [log for log in state["log_history"] if log["step"] == state.get("best_global_step")]
    metric = f"eval_{recipe.dev_metric}"
    problem = ""
    if not file.is_file():
        problem = f"has no {file.name}: another method saved it"
    elif is_adapter:
        if differing := adapter_problems(begun.network, folder, recipe.adapter):
            problem = f"has {differing}"
    elif saved_shapes(file) != learning_shapes(begun.network):
        problem = "saved other weights than learn now"
    if recipe.dev and best and all(log.get(metric) != state["best_metric"] for log in best):
        problem = problem or f"chose its best step by another dev_metric than {recipe.dev_metric}"
    if problem:
        raise CheckpointError(
            f"{folder} {problem}; expected a checkpoint of this recipe, to go on from it; change "
            "the recipe back, or choose another output"
        )


def write_task(recipe: Recipe) -> None:
    """Keep in `output` what `require_same_task` compares."""
    text = json.dumps(_task(recipe), indent=1) + "\n"
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
        (recipe.output / RUN_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            f"{recipe.output} cannot be written ({error}); expected a folder, or a place for one; "
            "choose another output"
        ) from error


def require_same_task(recipe: Recipe) -> None:
    """Raise CheckpointError where `output` was begun with other data, weights, losses or seed."""
    file = recipe.output / RUN_FILE
    if not file.is_file():  # begun before there was such a file
        return
    try:
        found = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}); expected what the run was begun with; choose "
            "another output, or remove the file if you know that nothing has changed"
        ) from error
    now = _task(recipe)
    if recipe.losses.contrastive == "bpr":  # which never had them, though it was let say so
        found["cross_device_negatives"] = False
    found = {name: now[name] for name in _ADDED} | found
    if others := sorted(name for name in {*found, *now} if found.get(name) != now.get(name)):
        raise CheckpointError(
            f"{recipe.output} was begun with another {', '.join(others)}; expected the same to go "
            "on; change the recipe (or the file) back, or choose another output"
        )


def _task(recipe: Recipe) -> dict[str, Any]:
    """What must not change within a run: steps, learning rate and what is measured may."""
    files = {"train": recipe.train, "passages": recipe.passages}
    names = ("format", "base", "adapter_from", "dtype", "max_passage_tokens")
    collator = asdict(recipe.collator)
    del collator["chunk_tokens"]  # how much is padded, which no loss sees
    source = find_source(recipe)  # its digests were remembered when the run started from it
    adapter = source.adapter and file_sha256(source.adapter / ADAPTER_FILE)
    plain = {
        **{name: file_sha256(path) for name, path in files.items() if path is not None},
        **{name: getattr(recipe, name) for name in names},
        **dict(zip(_ADDED, (source.base.sha256, adapter), strict=True)),
        **asdict(recipe.losses),
        "collator": collator,
        "seed": recipe.trainer.get("seed", 0),
    }
    return dict(json.loads(json.dumps(plain)))
