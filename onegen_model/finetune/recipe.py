"""A training run described by one YAML file: base, data, adapter, trainer arguments."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from onegen_model.checkpoint import (
    ADAPTER_FILE,
    Base,
    CheckpointConfig,
    load_weights,
    prepare_tokens,
    weights_sha256,
)
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.collator import Collator, CollatorSettings
from onegen_model.finetune.examples import load_examples, load_passages
from onegen_model.finetune.objective import Objective
from onegen_model.finetune.trainer import AdapterSettings, JointTrainer, add_adapter
from onegen_model.template import Renderer, Template
from onegen_model.tokens import token_id
from onegen_model.weights import default_base_file, file_sha256, prepare_base


@dataclass(frozen=True, slots=True)
class Recipe:
    """`base` is "default" or a folder; `trainer` goes to `transformers.TrainingArguments`.

    `dtype` is that of the frozen weights; the adapter itself trains in fp32.
    """

    train: Path
    passages: Path
    output: Path
    base: str = "default"
    dtype: str = "float32"
    max_passage_tokens: int = 128
    temperature: float = 0.05
    contrastive_weight: float = 1.0
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    collator: CollatorSettings = field(default_factory=CollatorSettings)
    trainer: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises InvalidInputError that names an unknown or missing key."""
        if not path.is_file():
            raise InvalidInputError(f"No recipe {path}; expected a YAML file; check the path")
        try:
            plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InvalidInputError(
                f"{path} is not YAML ({error}); expected one; mend it"
            ) from error
        values = _checked(cls, plain, str(path))
        for name in ("train", "passages", "output"):
            values[name] = Path(values[name])
        if "adapter" in values:
            values["adapter"] = AdapterSettings(
                **_checked(AdapterSettings, values["adapter"], f"{path}: adapter")
            )
        if "collator" in values:
            values["collator"] = CollatorSettings(
                **_checked(CollatorSettings, values["collator"], f"{path}: collator")
            )
        return cls(**values)


def _checked(cls: type, plain: object, where: str) -> dict[str, Any]:
    """The mapping itself, if its keys are fields of the dataclass `cls` and none is missing."""
    if not isinstance(plain, dict):
        raise InvalidInputError(f"{where} is not a mapping; expected `key: value` lines; mend it")
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in plain:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1) or sorted(known)
            raise InvalidInputError(
                f"{where} has the key {name!r}; expected one of the known ones; did you mean "
                f"{near[0]!r}?"
            )
    unset = dataclasses.MISSING
    required = {n for n, f in known.items() if f.default is unset and f.default_factory is unset}
    if missing := sorted(required - set(plain)):
        raise InvalidInputError(f"{where} has no key {missing[0]!r}; expected one; add it")
    return dict(plain)


def find_recipe_base(source: str) -> tuple[Path, Base]:
    """The folder of a recipe's base, and how a checkpoint names it."""
    if source == "default":
        file = default_base_file()
        return prepare_base(file), Base("default", file_sha256(file))
    folder = Path(source)
    if not folder.is_dir():
        raise InvalidInputError(f"No base {source}; expected a folder; download the model first")
    return folder, Base(source, weights_sha256(folder))


def run(recipe: Recipe, max_steps: int | None = None) -> Path:
    """Train, or go on from the last checkpoint in `output`; returns the checkpoint's folder."""
    arguments = dict(recipe.trainer) | ({"max_steps": max_steps} if max_steps else {})
    torch.manual_seed(arguments.get("seed", 0))
    folder, base = find_recipe_base(recipe.base)
    # Eager attention: the fused kernel's backward is the slowest operation of a step on a CPU.
    network, tokenizer = load_weights(folder)
    network.set_attn_implementation("eager")
    network = network.to(getattr(torch, recipe.dtype))
    template = Template()
    prepare_tokens(network, tokenizer, template)
    token_ids = [token_id(tokenizer, token) for token in template.tokens]
    adapted = add_adapter(network, token_ids, recipe.adapter)
    renderer = Renderer(template, tokenizer, recipe.max_passage_tokens)
    trainer = JointTrainer(
        model=Objective(
            adapted,
            temperature=recipe.temperature,
            contrastive_weight=recipe.contrastive_weight,
        ),
        args=TrainingArguments(
            output_dir=str(recipe.output),
            remove_unused_columns=False,
            label_names=["targets"],
            disable_tqdm=True,
            **arguments,
        ),
        train_dataset=load_examples(recipe.train),
        data_collator=Collator(renderer, load_passages(recipe.passages), recipe.collator),
    )
    last = get_last_checkpoint(str(recipe.output)) if recipe.output.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(recipe.output))
    if trainer.is_world_process_zero():
        CheckpointConfig(template, recipe.max_passage_tokens, base).write(recipe.output)
    return recipe.output


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
