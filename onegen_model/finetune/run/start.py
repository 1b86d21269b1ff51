"""The start of a run: a base, or a trained adapter over it, prepared for training."""

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from onegen_model.checkpoint.config import ADAPTER_FILE, Base, CheckpointConfig
from onegen_model.checkpoint.default_base import default_base_file, file_sha256, prepare_base
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.checkpoint.loading import load_checkpoint
from onegen_model.checkpoint.shipped import DEFAULT_CHECKPOINT, shipped
from onegen_model.checkpoint.weights import (
    find_base,
    load_tokenizer,
    load_weights,
    prepare_tokens,
)
from onegen_model.engine.probe import probe
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.trainable import (
    AdapterSettings,
    freeze_layers,
    is_token_rows,
    learning_shapes,
    load_trained,
    prepare_to_learn,
    require_known_layers,
    saved_shapes,
)
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens, token_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Start:
    """A network whose trained parameters require gradients, and the facts of its checkpoint.

    Without a `base` the checkpoint will hold whole weights.
    """

    network: "PreTrainedModel"
    renderer: Renderer
    base: Base | None

    @property
    def config(self) -> CheckpointConfig:
        renderer = self.renderer
        return CheckpointConfig(renderer.template, renderer.max_passage_tokens, self.base)


@dataclass(frozen=True, slots=True)
class _Source:
    """The folders of a recipe's base and, if it has one, its adapter."""

    folder: Path
    base: Base
    adapter: Path | None
    template: Template

    def linking(self) -> "_Source":
        """The same, with the tokens of entity linking."""
        return replace(self, template=self.template.with_linking())


def start(recipe: Recipe) -> Start:
    """Load the model of a recipe; raises InvalidInputError, or CheckpointError, also for a model
    that could be trained but not served.
    """
    source = find_source(recipe)
    if recipe.format == "entity_linking":
        source = source.linking()
    if recipe.method != "lora" and source.adapter is not None:
        # Training of whole weights starts from base and adapter merged.
        loaded = load_checkpoint(source.adapter, torch.float32, "cpu")
        network, tokenizer = loaded.network, loaded.tokenizer
        probe(network)
        network.train()
    else:
        network, tokenizer = load_weights(source.folder)
        probe(network)
        network = network.to(getattr(torch, recipe.dtype))
        prepare_tokens(network, tokenizer, source.template)
    require_known_layers(network, recipe.adapter)
    if not _trains_on_gpu(recipe):
        # On a CPU the backward pass of fused attention is the slowest operation of a step.
        network.set_attn_implementation("eager")
    token_ids = [token_id(tokenizer, token) for token in source.template.added_tokens]
    with warnings.catch_warnings():
        # PEFT still uses a name that transformers renamed; the caller cannot change that.
        warnings.simplefilter("ignore", FutureWarning)
        learning = prepare_to_learn(network, token_ids, recipe.method, recipe.adapter)
    if recipe.method == "lora" and source.adapter is not None:
        if problems := adapter_problems(learning, source.adapter, recipe.adapter):
            raise CheckpointError(
                f"adapter_from {recipe.adapter_from} has {problems}; expected the adapter of this "
                "recipe; set the recipe's adapter.rank, alpha and top_layers to those of the "
                "adapter"
            )
        load_trained(learning, source.adapter)
    if recipe.method == "lora" and recipe.adapter.frozen:
        freeze_layers(learning, recipe.adapter.frozen)
    renderer = Renderer(source.template, tokenizer, recipe.max_passage_tokens)
    return Start(learning, renderer, source.base if recipe.method == "lora" else None)


def find_source(recipe: Recipe) -> _Source:
    """Locate the weights; raises before anything large is loaded."""
    folder, base = find_recipe_base(recipe.base)
    config = CheckpointConfig.read(folder)
    if config.base is not None:
        raise InvalidInputError(
            f"base {recipe.base} is an adapter; expected whole weights; name it as `adapter_from`, "
            f"and as `base` what it was trained on ({config.base.source})"
        )
    if recipe.adapter_from is None:
        return _Source(folder, base, None, config.template)
    adapter = shipped(recipe.adapter_from) or Path(recipe.adapter_from)
    config = CheckpointConfig.read(adapter) if adapter.is_dir() else CheckpointConfig()
    if config.base is None or not (adapter / ADAPTER_FILE).is_file():
        raise InvalidInputError(
            f"adapter_from {recipe.adapter_from} is no OneGen adapter; expected a folder with "
            f"onegen.json and {ADAPTER_FILE}; whole weights go in as `base`"
        )
    if config.base.sha256 != base.sha256:
        raise CheckpointError(
            f"adapter_from {recipe.adapter_from} was trained on another base "
            f"({config.base.source}, {config.base.sha256[:12]}…); expected one for base "
            f"{recipe.base} ({base.sha256[:12]}…); name its base, or another adapter"
        )
    return _Source(folder, base, adapter, config.template)


def find_recipe_base(source: str) -> tuple[Path, Base]:
    """The folder of a recipe's base, and its identity in a checkpoint."""
    if source == "default":
        file = default_base_file()
        return prepare_base(file), Base("default", file_sha256(file))
    folder = Path(source)
    if not folder.is_dir():
        raise InvalidInputError(f"No base {source}; expected a folder; download the model first")
    return folder, Base(source, weights_sha256(folder))


def load_renderer(
    checkpoint: Path | None, max_passage_tokens: int | None = None, *, links: bool = False
) -> Renderer:
    """The renderer of a checkpoint (None: the default) or of a base without control tokens; the
    network is not loaded. `links`: with the tokens of entity linking, as a run would add them.
    """
    folder = DEFAULT_CHECKPOINT if checkpoint is None else shipped(checkpoint) or checkpoint
    if not folder.is_dir():
        raise InvalidInputError(f"No model {folder}; expected a folder; download the model first")
    config = CheckpointConfig.read(folder)
    weights = find_base(config.base) if config.base else folder
    tokenizer = load_tokenizer(weights)
    template = config.template.with_linking() if links else config.template
    add_control_tokens(tokenizer, template.added_tokens)
    return Renderer(template, tokenizer, max_passage_tokens or config.max_passage_tokens)


def adapter_problems(network: "PreTrainedModel", folder: Path, settings: AdapterSettings) -> str:
    """The differences between a saved adapter and this one; empty if it fits."""
    wanted, found = learning_shapes(network), saved_shapes(folder / ADAPTER_FILE)
    # Rows of tokens that the adapter does not know start anew.
    wanted |= {name: found[name] for name in found if is_token_rows(name) and name in wanted}
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    problems = []
    if (rank := config.get("r")) != settings.rank:
        problems.append(f"rank {rank}, not {settings.rank}")
    if (alpha := config.get("lora_alpha")) != settings.alpha:
        problems.append(f"alpha {alpha}, not {settings.alpha}")
    if set(found) != set(wanted):
        problems.append(f"{len(found)} tensors, not {len(wanted)} (adapter.top_layers?)")
    elif not problems and found != wanted:
        name = next(name for name in wanted if wanted[name] != found[name])
        problems.append(f"{name} {found[name]}, not {wanted[name]}")
    return ", ".join(problems)


def _trains_on_gpu(recipe: Recipe) -> bool:
    """Whether the Trainer will take a CUDA GPU."""
    return torch.cuda.is_available() and not recipe.trainer.get("use_cpu", False)
