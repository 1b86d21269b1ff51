"""Training a recipe from start to checkpoint, and making the folder that is shipped."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from onegen_model.checkpoint import ADAPTER_FILE, CheckpointConfig
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.collator import Collator
from onegen_model.finetune.data import open_data
from onegen_model.finetune.methods import TRAINED_FILE, has_adapter, merged
from onegen_model.finetune.objective import Objective
from onegen_model.finetune.recipe import Recipe
from onegen_model.finetune.starting import Start, start
from onegen_model.finetune.survey import usable
from onegen_model.finetune.trainer import JointTrainer


def run(recipe: Recipe, max_steps: int | None = None) -> Path:
    """Train, or go on from the last checkpoint in `output`; returns the checkpoint's folder."""
    torch.manual_seed(recipe.trainer.get("seed", 0))
    data = open_data(recipe.format, recipe.train, recipe.passages)
    begun = start(recipe)
    collator = Collator(begun.renderer, data.passages, recipe.collator)
    examples = usable(data, collator, recipe.collator.on_truncation)
    # The network is made before the arguments: with DeepSpeed in them PEFT makes empty rows.
    arguments = training_arguments(recipe, max_steps)
    _require_whole_layers(recipe, arguments)
    trainer = JointTrainer(
        model=Objective(begun.network, recipe.losses),
        args=arguments,
        train_dataset=examples,
        data_collator=collator,
    )
    last = get_last_checkpoint(str(recipe.output)) if recipe.output.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(recipe.output))
    if trainer.is_world_process_zero():
        finish(begun, recipe.output)
    return recipe.output


def training_arguments(recipe: Recipe, max_steps: int | None = None) -> TrainingArguments:
    """The arguments of a run; raises InvalidInputError where the Trainer refuses them."""
    chosen = dict(recipe.trainer) | ({"max_steps": max_steps} if max_steps else {})
    if chosen.get("deepspeed") and "LOCAL_RANK" not in os.environ:
        raise InvalidInputError(
            "trainer.deepspeed is set, and this is a single process; expected a launcher; start "
            "with `torchrun --nproc_per_node N training/finetune.py CONFIG.yaml`"
        )
    try:
        return TrainingArguments(
            output_dir=str(recipe.output),
            remove_unused_columns=False,
            label_names=["targets"],
            disable_tqdm=True,
            **chosen,
        )
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"trainer: {error}; expected arguments of transformers.TrainingArguments; mend the one"
        ) from error


def _require_whole_layers(recipe: Recipe, arguments: TrainingArguments) -> None:
    config = getattr(arguments, "hf_deepspeed_config", None)
    if config is not None and config.is_zero3() and recipe.method == "top_layers":
        raise InvalidInputError(
            "method top_layers runs under ZeRO-3, which splits the layers that do not learn too; "
            "expected ZeRO-2; use training/configs/zero2.json"
        )


def finish(begun: Start, output: Path) -> None:
    """Make the folder a checkpoint that `OneGenModel.from_pretrained` loads."""
    if not has_adapter(begun.network):
        whole = merged(begun.network)
        state = None
        if whole is begun.network:
            # Everything was learnt, and what a rank of ZeRO-3 holds is not everything.
            state = load_file(output / TRAINED_FILE)
        whole.save_pretrained(output, state_dict=state)
        begun.renderer.tokenizer.save_pretrained(output)
        (output / TRAINED_FILE).unlink()
    begun.config.write(output)


def export(source: Path, target: Path) -> None:
    """Copy a trained checkpoint for shipping, its adapter rounded to fp16."""
    target.mkdir(parents=True, exist_ok=True)
    tensors = load_file(source / ADAPTER_FILE)
    half = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    save_file(half, target / ADAPTER_FILE)
    # A model path of the machine that trained means nothing elsewhere: onegen.json names the base.
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (target / "adapter_config.json").write_text(text, encoding="utf-8")
    CheckpointConfig.read(source).write(target)
