"""The model card of a run: base, data, settings, duration and results."""

import dataclasses
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from torch import nn
from transformers import TrainerState, TrainingArguments

from onegen_model.checkpoint.config import Base
from onegen_model.checkpoint.default_base import file_sha256
from onegen_model.checkpoint.shipped import shipped
from onegen_model.finetune.data.datasets import content_file
from onegen_model.finetune.run.dev_set import kept_evaluation
from onegen_model.finetune.run.recipe import Recipe

CARD_FILE = "README.md"
_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
_MARK = "<!-- Written by onegen at the end of a run; without this line it is left as it is. -->"
_DEFAULT_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HUB_CACHE = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]")
_LIBRARIES = ("onegen", "torch", "transformers", "peft", "accelerate")
_LOSSES = ("loss", "language_modeling_loss", "contrastive_loss")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a card; `num_examples` are the numbers used of train and of dev."""

    recipe: Recipe
    base: Base
    arguments: TrainingArguments
    state: TrainerState
    num_examples: tuple[int, int]

    @property
    def kept(self) -> Mapping[str, float] | None:
        """The log of the evaluation whose model was kept; None where it is the last step's."""
        # A resumed state may hold one of an earlier recipe with `dev`.
        return kept_evaluation(self.state) if self.arguments.load_best_model_at_end else None


def write_card(folder: Path, text: str) -> bool:
    """Write the card unless there is one by another author; returns whether it was written."""
    file = folder / CARD_FILE
    if file.is_file() and _MARK not in file.read_text(encoding="utf-8", errors="replace"):
        return False
    file.write_text(text, encoding="utf-8")
    return True


def keep_card(network: nn.Module) -> None:
    """Keep PEFT from writing its own card over an existing one at every save."""
    if hasattr(network, "create_or_update_model_card"):
        object.__setattr__(network, "create_or_update_model_card", lambda _folder: None)


def describe_run(facts: RunFacts, name: str) -> str:
    """The Markdown of a card, with the metadata for the hub."""
    recipe = facts.recipe
    card = ModelCard.from_template(
        _metadata(facts),
        template_path=str(_TEMPLATE),
        mark=_MARK,
        name=name,
        is_adapter=recipe.method == "lora",
        links=_links(recipe),
        training=_training(facts),
        data=_data(facts),
        results=_results(facts),
        settings=_settings(recipe),
        has_dev=recipe.dev is not None,
        max_passage_tokens=recipe.max_passage_tokens,
        max_length=recipe.collator.max_length,
    )
    return f"{card}\n"


def hub_id(source: str) -> str | None:
    """The hub's name of a base; None where only a folder is known."""
    if source == "default":
        return _DEFAULT_BASE
    found = _HUB_CACHE.search(f"{Path(source).resolve().as_posix()}/")
    return f"{found[1]}/{found[2]}" if found else None


def questions_seen(state: TrainerState, arguments: TrainingArguments, num_examples: int) -> int:
    """The number of examples in all steps of a run, repetitions included."""
    shared = arguments.per_device_train_batch_size * arguments.world_size
    if arguments.dataloader_drop_last:
        num_examples -= num_examples % shared
    per_step = shared * arguments.gradient_accumulation_steps
    per_epoch = max(1, -(-num_examples // per_step))
    epochs, steps = divmod(state.global_step, per_epoch)
    return int(epochs * num_examples + min(num_examples, steps * per_step))


def _links(recipe: Recipe) -> bool:
    """Whether entity linking was trained."""
    return recipe.format == "entity_linking"


def _metadata(facts: RunFacts) -> ModelCardData:
    subjects = ["rag", "retrieval-augmented-generation"]
    if _links(facts.recipe):
        subjects = ["entity-linking"]
    return ModelCardData(
        license=facts.recipe.license,
        library_name="onegen",
        base_model=hub_id(facts.recipe.base),
        pipeline_tag="text-generation",
        tags=["onegen", *subjects, facts.recipe.method],
    )


def _training(facts: RunFacts) -> str:
    state, recipe, kept = facts.state, facts.recipe, facts.kept
    seen = questions_seen(state, facts.arguments, facts.num_examples[0])
    subject = "Texts seen" if _links(recipe) else "Questions seen"
    seconds = max((log.get("seconds", 0.0) for log in state.log_history), default=0.0)
    rows = {
        "Base": f"{_plain_name(recipe.base)}, sha256 `{facts.base.sha256}`",
        "Went on from": _adapter_name(recipe.adapter_from) if recipe.adapter_from else "",
        "Method": recipe.method,
        "Losses": f"language modelling and {recipe.contrastive}",
        "Steps": f"{state.global_step} of {state.max_steps}",
        "Step that was kept": f"{kept['step']:.0f}, by {recipe.dev_metric} on dev" if kept else "",
        subject: f"{seen:,}",
        "Seconds": f"{seconds:,.0f}",
        "On": _machine(facts.arguments),
        "With": ", ".join(_versions(facts.arguments)),
    }
    return _table(("", ""), [(key, value) for key, value in rows.items() if value])


def _data(facts: RunFacts) -> str:
    recipe = facts.recipe
    counts = {"train": facts.num_examples[0], "dev": facts.num_examples[1]}
    rows = []
    for role in ("train", "passages", "dev", "dev_passages"):
        if (file := getattr(recipe, role)) is not None:
            used = f"{counts[role]:,}" if role in counts else ""
            rows.append((role, f"`{file.name}`", used, f"`{file_sha256(content_file(file))}`"))
    return _table(("", "file", "examples used", "sha256"), rows)


def _results(facts: RunFacts) -> str:
    history = facts.state.log_history
    last = next((log for log in reversed(history) if "loss" in log), {})
    kept = facts.kept
    if kept is None:
        values = [(name, f"{last[name]:.4f}") for name in _LOSSES if name in last]
        return _table(("", "train, last logged"), values) if values else "No loss was logged."
    rows = []
    for name in (*_LOSSES, "recall@1"):
        if f"eval_{name}" in kept:
            train = f"{last[name]:.4f}" if name in last else ""
            rows.append((name, train, f"{kept[f'eval_{name}']:.4f}"))
    table = _table(("", "train, last logged", "dev, at the step that was kept"), rows)
    if "eval_passages" not in kept:
        return table
    return (
        f"{table}\n\nrecall@1 is among the {kept['eval_passages']:.0f} positives and negatives of "
        "the dev examples, which is easier than a whole corpus."
    )


def _settings(recipe: Recipe) -> str:
    """The recipe, without the folders of the machine that trained."""
    plain = json.loads(json.dumps(dataclasses.asdict(recipe), default=_short))
    plain |= {"base": _plain_name(recipe.base), "output": recipe.output.name}
    if recipe.adapter_from:
        plain["adapter_from"] = _short_adapter(recipe.adapter_from)
    if isinstance(config := plain["trainer"].get("deepspeed"), str):
        plain["trainer"]["deepspeed"] = Path(config).name
    given = {name: value for name, value in plain.items() if value is not None}
    return f"```yaml\n{yaml.safe_dump(given, sort_keys=False).strip()}\n```"


def _machine(arguments: TrainingArguments) -> str:
    processes = arguments.world_size
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    if arguments.device.type == "cuda":
        where += f", {torch.cuda.get_device_name(arguments.device)}"
    return f"{where}; {processes} process{'es' if processes > 1 else ''}"


def _versions(arguments: TrainingArguments) -> list[str]:
    found = []
    for name in (*_LIBRARIES, *(["deepspeed"] if arguments.deepspeed else [])):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _plain_name(source: str) -> str:
    """A hub id, "default", or the last part of a path."""
    return hub_id(source) or Path(source).name


def _adapter_name(source: str) -> str:
    """What a run went on from, in words where it belongs to the package."""
    name = _short_adapter(source)
    return f"the checkpoint `{name}` of OneGen" if shipped(source) else name


def _short_adapter(source: str) -> str:
    """The name of a shipped adapter as it is, else a hub id or the last part of a path."""
    return source if shipped(source) else _plain_name(source)


def _short(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
