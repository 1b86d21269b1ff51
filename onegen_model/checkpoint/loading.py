"""What a OneGen checkpoint is on disk, and its fingerprint.

A folder with `onegen.json` (template, passage length, base) and either an adapter over a base or
whole weights with their tokenizer; safetensors only. A plain Hugging Face folder loads too, if its
tokenizer has the control tokens: ours, or those of a preset.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onegen_model.checkpoint.config import CONFIG_FILE, Base, CheckpointConfig
from onegen_model.checkpoint.default_base import default_base_file, file_sha256, prepare_base
from onegen_model.checkpoint.presets import TOKENIZER_OPTIONS, Preset, find_preset, require_preset
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens, initialise_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


DEFAULT_CHECKPOINT = Path(__file__).parent.parent / "default_checkpoint"
ADAPTER_FILE = "adapter_model.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"
_WHOLE = "a causal language model of Hugging Face with safetensors and a tokenizer"
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
# What a config file may hold that changes no vector and no id.
_INERT = {
    *("_name_or_path", "_model_name_or_path", "base_model_name_or_path", "revision"),
    *("transformers_version", "peft_version", "architectures", "inference_mode"),
    *("dtype", "torch_dtype", "use_cache", "attn_implementation", "_attn_implementation"),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. `fingerprint` names all that its vectors and ids depend on."""

    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    config: CheckpointConfig
    fingerprint: str


def load_checkpoint(
    path_or_id: str | Path | None, dtype: Any, device: str, preset: str | None = None
) -> Checkpoint:
    """The default checkpoint (None), a local folder, or a hub id; raises CheckpointError.

    `preset` names the published format of a folder without `onegen.json`; it is found by its
    tokens otherwise.
    """
    if preset is not None:
        require_preset(preset)  # a download is long
    folder = DEFAULT_CHECKPOINT if path_or_id is None else _find_folder(path_or_id)
    published = _find_preset(folder, preset)
    if published is not None and published.template is not None:
        config = CheckpointConfig(published.template, published.max_passage_tokens)
        network, tokenizer = load_weights(weights := folder, **TOKENIZER_OPTIONS)
        published.require_rows(network, tokenizer)
    else:
        config = CheckpointConfig.read(folder)
        weights = folder if config.base is None else find_base(config.base)
        network, tokenizer = load_weights(weights)
    if config.base is not None:
        network = _apply_adapter(network, tokenizer, folder, config)
    fingerprint = fingerprint_of(network, tokenizer, folder, weights, config)
    torch.nn.Module.to(network, device=device, dtype=dtype).eval()
    return Checkpoint(network.requires_grad_(False), tokenizer, config, fingerprint)


def _find_folder(path_or_id: str | Path) -> Path:
    if (folder := Path(path_or_id)).is_dir():
        return folder
    # Imported here: whoever has a folder needs no hub.
    from huggingface_hub import snapshot_download

    try:
        return Path(str(snapshot_download(str(path_or_id), allow_patterns=_FILES)))
    except Exception as error:  # The hub client raises a dozen kinds, none of them ours.
        raise CheckpointError(
            f"No model {str(path_or_id)!r}: no such folder, and not on the hub "
            f"({type(error).__name__}); expected a folder or a hub id; check the name"
        ) from error


def _find_preset(folder: Path, name: str | None) -> Preset | None:
    if not (folder / CONFIG_FILE).is_file():
        return find_preset(_load_tokenizer(folder), folder, name)
    if name is not None:
        raise InvalidInputError(
            f"preset={name!r} for {folder}, which has its own {CONFIG_FILE}; expected no preset; "
            "leave it out"
        )
    return None


def find_base(base: Base) -> Path:
    """The folder of a base, once its weights were found to be the right ones."""
    if base.source == "default":
        file = default_base_file()
        if (found := file_sha256(file)) == base.sha256:
            return prepare_base(file)
        where = str(file)
    else:
        folder = _find_folder(base.source)
        if (found := weights_sha256(folder)) == base.sha256:
            return folder
        where = base.source
    raise CheckpointError(
        f"{where} holds other weights ({found[:12]}…); expected the base that the adapter was "
        f"trained on ({base.sha256[:12]}…); install that one"
    )


def weights_sha256(folder: Path) -> str:
    """One digest over all safetensors files of a folder, and the tokenizer."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer.json")])
    digests = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()


def load_weights(
    folder: Path, **tokenizer_options: bool
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Network (in the dtype it was saved in) and tokenizer of a Hugging Face folder."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    tokenizer = _load_tokenizer(folder, **tokenizer_options)
    if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{folder} has its weights in .bin files; expected safetensors, because loading a .bin "
            "file can run code; if you trust it, convert it once: `AutoModelForCausalLM."
            "from_pretrained(folder).save_pretrained(folder)` of transformers"
        )
    try:
        network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True)
    except Exception as error:  # Damage shows in a dozen kinds of errors, some of them bare.
        raise _unloadable(folder, error, _WHOLE) from error
    return network, tokenizer


def _load_tokenizer(folder: Path, **options: bool) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:  # As in `load_weights`.
        raise _unloadable(folder, error, _WHOLE) from error
    return tokenizer


def _unloadable(folder: Path, error: Exception, expected: str) -> CheckpointError:
    reason = next(iter(str(error).splitlines()), "no reason given")
    return CheckpointError(
        f"{folder} cannot be loaded ({type(error).__name__}: {reason}); expected {expected}, every "
        "file whole; check the folder, or fetch it again (`git lfs pull` where git-lfs left "
        "pointers)"
    )


def _apply_adapter(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    config: CheckpointConfig,
) -> "PreTrainedModel":
    """Merge in fp32, so that the dtype asked for rounds only once."""
    if not (folder / ADAPTER_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {ADAPTER_FILE}; expected one, because {CONFIG_FILE} names a base; "
            "fetch the checkpoint again"
        )
    # Imported here: PEFT takes seconds to import, and whole checkpoints do without.
    from peft import PeftModel

    prepare_tokens(network, tokenizer, config.template)
    with warnings.catch_warnings():
        # PEFT still uses a name that transformers renamed: nothing the caller can mend.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            adapted = PeftModel.from_pretrained(network.float(), str(folder))
        except Exception as error:  # As in `load_weights`.
            what = "an adapter that PEFT wrote for the base"
            raise _unloadable(folder, error, what) from error
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def prepare_tokens(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", template: Template
) -> None:
    """Give a base the control tokens of a template, with their first rows."""
    if add_control_tokens(tokenizer, template.tokens):
        initialise_rows(network, tokenizer, template.tokens)


def fingerprint_of(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    weights: Path,
    config: CheckpointConfig,
) -> str:
    """Names everything vectors and ids depend on; not dtype, device, versions or paths.

    `weights` is the folder of the base, or `folder` itself.
    """
    adapter = folder / ADAPTER_FILE
    is_default = config.base is not None and config.base.source == "default"
    parts = [
        config.base.sha256 if config.base else weights_sha256(folder),
        file_sha256(adapter) if adapter.is_file() else "",
        _settings(folder / _ADAPTER_CONFIG),
        # The default base is one file, whose digest covers the settings that are read out of it.
        None if is_default else _settings(weights / "config.json"),
        getattr(network.generation_config, "eos_token_id", None),
        tokenizer.chat_template,
        tokenizer.special_tokens_map,
        config.template.to_dict(),
        config.max_passage_tokens,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _settings(file: Path) -> Any:
    """What matters of a JSON file, nested configs included; None without one."""
    return _without_inert(json.loads(file.read_text("utf-8"))) if file.is_file() else None


def _without_inert(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_inert(inner) for key, inner in value.items() if key not in _INERT}
