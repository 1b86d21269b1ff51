"""Loads a OneGen checkpoint from a folder or the hub, and saves one.

A folder with `onegen.json` (template, passage length, base) has either an adapter over a base or
whole weights with their tokenizer; safetensors only. A plain Hugging Face folder loads too, if its
tokenizer has our control tokens or those of a preset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from onegen_model.checkpoint.collector import paused_collector
from onegen_model.checkpoint.config import (
    ADAPTER_CONFIG,
    CONFIG_FILE,
    CheckpointConfig,
    MadeFrom,
)
from onegen_model.checkpoint.fingerprint import fingerprint_of, identity_of
from onegen_model.checkpoint.hub import find_folder
from onegen_model.checkpoint.load_errors import refuse_foreign_code
from onegen_model.checkpoint.merged import load_adapted
from onegen_model.checkpoint.options import (
    LoadOptions,
    LoadSettings,
    require_device,
    settings_of,
)
from onegen_model.checkpoint.placement import (
    arguments_for_whole,
    place,
    require_one_device,
    require_whole_base,
)
from onegen_model.checkpoint.presets import TOKENIZER_OPTIONS, Preset, find_preset, require_preset
from onegen_model.checkpoint.shipped import DEFAULT_CHECKPOINT, shipped
from onegen_model.checkpoint.weights import find_base, load_tokenizer, load_weights
from onegen_model.errors import InvalidInputError
from onegen_model.forking import mark_computing, require_own_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Origin:
    """The arguments of `OneGenModel.from_pretrained` that load a checkpoint again."""

    source: str | None
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. `fingerprint` names all that its vectors and ids depend on.

    `origin` is None for one that was put together in memory.
    """

    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    config: CheckpointConfig
    fingerprint: str
    origin: Origin | None = None


@paused_collector()
def load_checkpoint(
    path_or_id: str | Path | None,
    dtype: str | torch.dtype = "float32",
    device: str | None = None,
    preset: str | None = None,
    **options: Unpack[LoadOptions],
) -> Checkpoint:
    """The default checkpoint (None), a local folder, or a hub id; raises CheckpointError.

    `preset` names the published format of a folder without `onegen.json`; by default it is found by
    its tokens. `options`: see `LoadOptions`.
    """
    settings = settings_of(dtype, device, options)
    require_own_threads()
    mark_computing()
    require_device(settings.device)  # in this order: a forked child may not touch its GPU
    if preset is not None:
        require_preset(preset)  # before a long download
    folder = _find_checkpoint(path_or_id, settings)
    refuse_foreign_code(folder)
    published = _find_preset(folder, preset)
    if published is not None and published.template is not None:
        config = CheckpointConfig(published.template, published.max_passage_tokens)
        network, tokenizer = load_weights(folder, TOKENIZER_OPTIONS, arguments_for_whole(settings))
        published.require_rows(network, tokenizer)
        weights = folder
    else:
        config = CheckpointConfig.read(folder)
        network, tokenizer, weights = _load_own(folder, config, settings)
    content = fingerprint_of(network, tokenizer, folder, weights, config)
    fingerprint = identity_of(content, config, settings.changes_vectors)
    if config.base is not None or not settings.places_itself:
        place(network, settings)
    require_one_device(network)
    return Checkpoint(
        network.eval().requires_grad_(False),
        tokenizer,
        config,
        fingerprint,
        _origin(path_or_id, settings, preset, options),
    )


def _find_checkpoint(path_or_id: str | Path | None, settings: LoadSettings) -> Path:
    if path_or_id is None:
        own = DEFAULT_CHECKPOINT
    elif (found := shipped(path_or_id)) is None:
        return find_folder(path_or_id, settings.revision)
    else:
        own = found
    if settings.revision is not None:
        raise InvalidInputError(
            f"revision={settings.revision!r} for the {path_or_id or 'default'} checkpoint; "
            "expected a hub id, because that checkpoint belongs to the package; leave revision out"
        )
    return own


def _find_preset(folder: Path, name: str | None) -> Preset | None:
    if not (folder / CONFIG_FILE).is_file():
        return find_preset(load_tokenizer(folder), folder, name)
    if name is not None:
        raise InvalidInputError(
            f"preset={name!r} for {folder}, which has its own {CONFIG_FILE}; expected no preset; "
            "leave it out"
        )
    return None


def _load_own(
    folder: Path, config: CheckpointConfig, settings: LoadSettings
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", Path]:
    """Network, tokenizer and the folder of the weights."""
    if config.base is None:
        network, tokenizer = load_weights(folder, model_kwargs=arguments_for_whole(settings))
        return network, tokenizer, folder
    require_whole_base(settings)
    weights = find_base(config.base)
    return *load_adapted(folder, weights, config, settings), weights


def _origin(
    path_or_id: str | Path | None, settings: LoadSettings, preset: str | None, options: LoadOptions
) -> Origin:
    source = None if path_or_id is None else str(path_or_id)
    if source is not None and Path(source).is_dir():
        source = str(Path(source).resolve())
    dtype = str(settings.dtype).removeprefix("torch.")
    given = {"dtype": dtype, "device": settings.device, "preset": preset, **options}
    return Origin(source, {name: value for name, value in given.items() if value is not None})


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write whole weights, tokenizer and `onegen.json`; raises InvalidInputError if quantised.

    The folder has the fingerprint of `checkpoint` as long as its files are not changed. A network
    whose weights were changed since they were loaded needs a `Checkpoint` of its own, with an empty
    fingerprint.
    """
    network = checkpoint.network
    if getattr(network, "quantization_method", None) is not None:
        raise InvalidInputError(
            "A quantised model cannot be saved; expected whole weights; save the model loaded "
            "without `quantization`, and quantise when loading"
        )
    if folder.is_file():
        raise InvalidInputError(f"{folder} is a file; expected a folder; choose another name")
    if (folder / ADAPTER_CONFIG).exists():
        # transformers would apply that adapter again to the weights that are written here.
        raise InvalidInputError(
            f"{folder} holds an adapter; expected another folder for whole weights; choose an "
            "empty one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)
    config = replace(checkpoint.config, base=None, made_from=None)
    if checkpoint.fingerprint:
        # Read back, because a tokenizer may change a little on its way through the files.
        content = fingerprint_of(network, load_tokenizer(folder), folder, folder, config)
        config = replace(config, made_from=MadeFrom(checkpoint.fingerprint, content))
    config.write(folder)
