"""Training by a recipe from start to checkpoint, and export of an adapter."""

import json
import logging
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from onegen_model.checkpoint.config import ADAPTER_FILE, CheckpointConfig
from onegen_model.errors import (
    CheckpointError,
    InvalidInputError,
    MissingExtraError,
    OneGenError,
)
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.datasets import Data, Examples, open_data
from onegen_model.finetune.data.survey import Subset, usable
from onegen_model.finetune.loss.objective import Objective
from onegen_model.finetune.run.batch_checks import require_batch, warn_of_lone_pairs
from onegen_model.finetune.run.compile_layers import compile_layers
from onegen_model.finetune.run.dev_set import (
    Development,
    Patience,
    evaluation_arguments,
)
from onegen_model.finetune.run.model_card import (
    CARD_FILE,
    RunFacts,
    describe_run,
    keep_card,
    write_card,
)
from onegen_model.finetune.run.plot import PLOT_FILE, draw_run
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.resume import (
    require_same_run,
    require_same_settings,
    require_same_task,
    write_settings,
    write_task,
)
from onegen_model.finetune.run.start import Start, find_recipe_base, start
from onegen_model.finetune.run.trainable import TRAINED_FILE, has_adapter, merged
from onegen_model.finetune.run.trainer import JointTrainer
from onegen_model.jsonl import JsonLines
from onegen_model.transcript.renderer import Renderer

logger = logging.getLogger(__name__)


def run(recipe: Recipe, max_steps: int | None = None) -> Path:
    """Train, or resume from the last checkpoint in `output`; returns the folder of the model."""
    torch.manual_seed(recipe.trainer.get("seed", 0))
    data = open_data(recipe.format, recipe.train, recipe.passages)
    started = start(recipe)
    collator = Collator(started.renderer, data.passages, recipe.collator)
    examples = usable(data, collator, recipe.collator.on_truncation)
    development = open_development(recipe, data, started.renderer)
    # The network comes before the arguments: once they name DeepSpeed, PEFT creates empty rows.
    arguments = training_arguments(recipe, max_steps)
    require_batch(len(examples), arguments)
    warn_of_lone_pairs(recipe, examples, arguments)
    _require_whole_layers(recipe, arguments)
    if recipe.compile_layers:
        compile_layers(started.network, arguments.device)
    if (last := last_checkpoint(recipe.output)) is not None:
        require_same_run(started, recipe, Path(last))
        require_same_task(recipe)
    elif arguments.process_index == 0:
        write_task(recipe)
    keep_card(started.network)
    trainer = _make_trainer(started, recipe, arguments, (examples, collator), development)
    trainer.train(resume_from_checkpoint=last)
    if not trainer.has_trained:
        require_same_settings(recipe, max_steps)
    trainer.save_model(str(recipe.output))
    if trainer.is_world_process_zero():
        finish(started, recipe.output)
        write_settings(recipe, max_steps)
        counts = (len(examples), len(development.examples) if development else 0)
        base = started.base or find_recipe_base(recipe.base)[1]
        describe(RunFacts(recipe, base, arguments, trainer.state, counts))
    return recipe.output


def _make_trainer(
    started: Start,
    recipe: Recipe,
    arguments: TrainingArguments,
    data: tuple[Subset, Collator],
    development: Development | None,
) -> JointTrainer:
    """The trainer; raises InvalidInputError for arguments that the Trainer refuses only here."""
    try:
        return JointTrainer(
            model=Objective(started.network, recipe.losses),
            args=arguments,
            train_dataset=data[0],
            data_collator=data[1],
            development=development,
            callbacks=[Patience(recipe.early_stopping)] if recipe.early_stopping else None,
        )
    except OneGenError:  # some are ValueErrors too
        raise
    except (ImportError, RuntimeError, ValueError) as error:
        # A reporter's missing package is a RuntimeError, as many other faults are.
        if isinstance(error, RuntimeError) and "installed" not in str(error):
            raise
        raise _refused(error) from error


def open_development(recipe: Recipe, data: Data, renderer: Renderer) -> Development | None:
    """The development set of a recipe; raises InvalidInputError if the metric cannot use it."""
    if recipe.dev is None:
        return None
    if recipe.dev_passages is None:
        data = Data(Examples(JsonLines(recipe.dev), data.examples.records), data.passages)
    else:
        data = open_data(recipe.format, recipe.dev, recipe.dev_passages)
    collator = Collator(renderer, data.passages, recipe.collator)
    development = Development(usable(data, collator, recipe.collator.on_truncation), collator)
    development.require(recipe.dev_metric)
    return development


def last_checkpoint(output: Path) -> str | None:
    """The latest complete checkpoint: a kill may leave an incomplete one."""
    found = {
        int(folder.name.rpartition("-")[2]): folder
        for folder in output.glob("checkpoint-*")
        if folder.name.rpartition("-")[2].isdecimal()
    }
    for _, folder in sorted(found.items(), reverse=True):
        try:
            # The Trainer writes this file last.
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning(
                "%s is not complete and is ignored; resuming from an earlier one", folder
            )
        else:
            return str(folder)
    return None


def training_arguments(recipe: Recipe, max_steps: int | None = None) -> TrainingArguments:
    """The arguments of a run; raises InvalidInputError if the Trainer refuses them."""
    chosen = dict(recipe.trainer) | ({"max_steps": max_steps} if max_steps else {})
    if chosen.get("deepspeed") and "LOCAL_RANK" not in os.environ:
        raise InvalidInputError(
            "trainer.deepspeed is set, and this is a single process; expected a launcher; start "
            "with `torchrun --nproc_per_node N training/finetune.py CONFIG.yaml`"
        )
    if chosen.get("deepspeed") and find_spec("deepspeed") is None:
        raise MissingExtraError(
            "trainer.deepspeed is set, and the package deepspeed is not installed; expected it; "
            'run `pip install "onegen[deepspeed]"`, or leave trainer.deepspeed out'
        )
    if recipe.dev is not None:
        chosen = evaluation_arguments(chosen, recipe.dev_metric)
    # Every trained parameter is used in every transcript, so no search for unused ones is needed.
    chosen.setdefault("ddp_find_unused_parameters", False)
    try:
        arguments = TrainingArguments(
            output_dir=str(recipe.output),
            remove_unused_columns=False,
            label_names=["targets"],
            disable_tqdm=True,
            **chosen,
        )
        get_reporting_integration_callbacks(arguments.report_to)  # an unknown name
    except (ImportError, TypeError, ValueError) as error:
        raise _refused(error) from error
    return arguments


def _refused(error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"trainer: {error}; expected arguments of transformers.TrainingArguments, and the packages "
        "that they name; correct the argument, or install the package"
    )


def _require_whole_layers(recipe: Recipe, arguments: TrainingArguments) -> None:
    config = getattr(arguments, "hf_deepspeed_config", None)
    if config is not None and config.is_zero3() and recipe.method == "top_layers":
        raise InvalidInputError(
            "method top_layers runs under ZeRO-3, which splits the layers that do not learn too; "
            "expected ZeRO-2; use training/configs/zero2.json"
        )


def finish(started: Start, output: Path) -> None:
    """Complete the folder to a checkpoint for `OneGenModel.from_pretrained`."""
    if not has_adapter(started.network):
        whole = merged(started.network)
        state = None
        if whole is started.network:
            # All weights were trained, and a rank of ZeRO-3 holds only its share of them.
            state = load_file(output / TRAINED_FILE)
        whole.save_pretrained(output, state_dict=state)
        started.renderer.tokenizer.save_pretrained(output)
        (output / TRAINED_FILE).unlink()
    started.config.write(output)


def describe(facts: RunFacts) -> None:
    """Write the plot of the run and its card beside the checkpoint."""
    output, kept = facts.recipe.output, facts.kept
    draw_run(facts.state.log_history, output / PLOT_FILE, kept["step"] if kept else None)
    if not write_card(output, describe_run(facts, output.resolve().name)):
        logger.warning("%s was written by hand and is kept", output / CARD_FILE)


def export(source: Path, target: Path) -> None:
    """Copy a trained checkpoint with card and plot; the adapter is rounded to fp16."""
    if not (source / ADAPTER_FILE).is_file():
        raise CheckpointError(
            f"{source} holds no adapter; expected a folder with {ADAPTER_FILE}; copy a folder "
            "of whole weights as it is"
        )
    target.mkdir(parents=True, exist_ok=True)
    tensors = load_file(source / ADAPTER_FILE)
    half = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    save_file(half, target / ADAPTER_FILE)
    # A path of the training machine is useless elsewhere; onegen.json names the base.
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (target / "adapter_config.json").write_text(text, encoding="utf-8")
    CheckpointConfig.read(source).write(target)
    if (card := source / CARD_FILE).is_file():
        write_card(target, card.read_text(encoding="utf-8"))
    if (picture := source / PLOT_FILE).is_file():
        shutil.copyfile(picture, target / PLOT_FILE)
