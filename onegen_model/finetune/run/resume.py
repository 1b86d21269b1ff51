"""Checks before a run is resumed: its settings at the start, and its checkpoint."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onegen_model.checkpoint.config import ADAPTER_FILE
from onegen_model.checkpoint.default_base import file_sha256
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.finetune.data.datasets import content_file
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.start import Start, adapter_problems, find_source
from onegen_model.finetune.run.trainable import (
    TRAINED_FILE,
    has_adapter,
    learning_shapes,
    saved_shapes,
)

# Files in `output`: the data and the objective of a run, and the settings that it ended with.
RUN_FILE = "run.json"
FINISHED_FILE = "finished.json"
# Keys that runs of earlier versions lack; such a run is resumed without them.
_ADDED = ("base_sha256", "adapter_from_sha256", "adapter.frozen")
# Settings of the collator that change the padding, not the losses.
_PADDING = ("chunk_tokens", "max_padding")


# Arguments of the Trainer that change no weight.
_NOT_LEARNT = (
    *("report_to", "run_name", "project", "disable_tqdm", "eval_on_start", "use_cpu"),
    *("per_device_eval_batch_size", "load_best_model_at_end"),
)
_NOT_LEARNT_GROUPS = ("logging_", "log_", "save_", "dataloader_num", "dataloader_pers",
                      "dataloader_pin", "dataloader_prefetch", "hub_", "push_to_hub")  # fmt: skip


def require_same_run(started: Start, recipe: Recipe, folder: Path) -> None:
    """Raise CheckpointError for a checkpoint that a changed recipe cannot resume."""
    is_adapter = has_adapter(started.network)
    file = folder / (ADAPTER_FILE if is_adapter else TRAINED_FILE)
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    best = [log for log in state["log_history"] if log["step"] == state.get("best_global_step")]
    metric = f"eval_{recipe.dev_metric}"
    problem = ""
    if not file.is_file():
        problem = f"has no {file.name}: another method saved it"
    elif is_adapter:
        if differing := adapter_problems(started.network, folder, recipe.adapter):
            problem = f"has {differing}"
    elif saved_shapes(file) != learning_shapes(started.network):
        problem = "saved other weights than are trained now"
    if recipe.dev and best and all(log.get(metric) != state["best_metric"] for log in best):
        problem = problem or f"chose its best step by another dev_metric than {recipe.dev_metric}"
    if problem:
        raise CheckpointError(
            f"{folder} {problem}; expected a checkpoint of this recipe; change "
            "the recipe back, or choose another output"
        )


def write_task(recipe: Recipe) -> None:
    """Write the facts that `require_same_task` compares into `output`."""
    text = json.dumps(_task(recipe), indent=1) + "\n"
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
        (recipe.output / RUN_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            f"{recipe.output} cannot be written ({error}); expected a folder, or a place for one; "
            "choose another output"
        ) from error


def write_settings(recipe: Recipe, max_steps: int | None) -> None:
    """Write the settings that `require_same_settings` compares into `output`."""
    text = json.dumps(_settings(recipe, max_steps), indent=1) + "\n"
    (recipe.output / FINISHED_FILE).write_text(text, encoding="utf-8")


def require_same_settings(recipe: Recipe, max_steps: int | None) -> None:
    """Raise CheckpointError if a finished run was trained with other settings: the new ones would
    be ignored, because no step is left.
    """
    try:
        text = (recipe.output / FINISHED_FILE).read_text(encoding="utf-8")
        before = dict(json.loads(text))
    except (OSError, ValueError, TypeError):  # finished by an earlier version, or stopped by a kill
        return
    now = _settings(recipe, max_steps)
    changed = [
        f"{name} was {before.get(name)} and is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise CheckpointError(
            f"{recipe.output} is finished, and {', '.join(changed)}; expected the settings that it "
            "was trained with; change them back, raise trainer.max_steps to train on with the new "
            "ones, or choose another output"
        )


def _settings(recipe: Recipe, max_steps: int | None) -> dict[str, Any]:
    """The settings of a recipe, besides its task, that change the trained weights."""
    trainer = dict(recipe.trainer) | ({"max_steps": max_steps} if max_steps else {})
    plain = {
        f"trainer.{name}": value
        for name, value in trainer.items()
        if name not in _NOT_LEARNT and not name.startswith(_NOT_LEARNT_GROUPS)
    }
    stopping = asdict(recipe.early_stopping) if recipe.early_stopping else {}
    plain |= {f"early_stopping.{name}": value for name, value in stopping.items()}
    if recipe.dev is not None:
        plain |= {"dev": file_sha256(recipe.dev), "dev_metric": recipe.dev_metric}
    return dict(json.loads(json.dumps(plain, default=str)))


def require_same_task(recipe: Recipe) -> None:
    """Raise CheckpointError if `output` was started with other data, weights, losses or seed."""
    file = recipe.output / RUN_FILE
    if not file.is_file():  # of an earlier version
        return
    try:
        found = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error}); expected the facts that the run was started with; "
            "choose another output, or remove the file if nothing has changed"
        ) from error
    now = _task(recipe)
    if recipe.losses.contrastive == "bpr":  # earlier versions accepted and ignored it
        found["cross_device_negatives"] = False
    found = {name: now[name] for name in _ADDED} | found
    # Earlier versions wrote them.
    found["collator"] = _without_padding(found.get("collator"))
    if others := sorted(name for name in {*found, *now} if found.get(name) != now.get(name)):
        raise CheckpointError(
            f"{recipe.output} was started with another {', '.join(others)}; expected the same to "
            "resume; change the recipe (or the file) back, or choose another output"
        )


def _task(recipe: Recipe) -> dict[str, Any]:
    """The facts that must not change within a run; steps, rates and measures may."""
    files = {"train": recipe.train, "passages": recipe.passages}
    names = ("format", "base", "adapter_from", "dtype", "max_passage_tokens")
    collator = _without_padding(asdict(recipe.collator))
    source = find_source(recipe)  # its digests are cached since the start of the run
    adapter = source.adapter and file_sha256(source.adapter / ADAPTER_FILE)
    plain = {
        **{
            name: file_sha256(content_file(path))
            for name, path in files.items()
            if path is not None
        },
        **{name: getattr(recipe, name) for name in names},
        # What is frozen was merged at the start, and a checkpoint's values would not be computed.
        **dict(zip(_ADDED, (source.base.sha256, adapter, recipe.adapter.frozen), strict=True)),
        **asdict(recipe.losses),
        "collator": collator,
        "seed": recipe.trainer.get("seed", 0),
    }
    return dict(json.loads(json.dumps(plain)))


def _without_padding(collator: Any) -> Any:
    if not isinstance(collator, dict):
        return collator
    return {name: value for name, value in collator.items() if name not in _PADDING}
