"""The identity of a checkpoint: a digest of all that its vectors and ids depend on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.checkpoint.config import ADAPTER_CONFIG, ADAPTER_FILE, CheckpointConfig
from onegen_model.checkpoint.default_base import file_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Keys of a config file that change no vector and no id.
_INERT = {
    *("_name_or_path", "_model_name_or_path", "base_model_name_or_path", "revision"),
    *("transformers_version", "peft_version", "architectures", "inference_mode"),
    *("dtype", "torch_dtype", "use_cache", "attn_implementation", "_attn_implementation"),
}


def weights_sha256(folder: Path) -> str:
    """One digest over all safetensors files of a folder, and the tokenizer."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer.json")])
    digests = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()


def fingerprint_of(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    weights: Path,
    config: CheckpointConfig,
) -> str:
    """A digest of the files; not of dtype, device, versions or paths.

    `weights` is the folder of the base, or `folder` itself. It protects from mistakes, not from
    forgery.
    """
    adapter = folder / ADAPTER_FILE
    is_default = config.base is not None and config.base.source == "default"
    parts = [
        config.base.sha256 if config.base else weights_sha256(folder),
        file_sha256(adapter) if adapter.is_file() else "",
        _settings(folder / ADAPTER_CONFIG),
        # The default base is one file, whose digest covers the settings that are read out of it.
        None if is_default else _settings(weights / "config.json"),
        getattr(network.generation_config, "eos_token_id", None),
        tokenizer.chat_template,
        tokenizer.special_tokens_map,
        config.template.to_dict(),
        config.max_passage_tokens,
    ]
    return _digest(parts)


def identity_of(content: str, config: CheckpointConfig, choices: Mapping[str, Any]) -> str:
    """The fingerprint of a loaded checkpoint, whose files have the fingerprint `content`.

    A folder that `save_pretrained` wrote has the identity of what it was made from, as long as its
    files are the ones that were written. `choices` of loading that change vectors give another.
    """
    origin = config.made_from
    identity = origin.fingerprint if origin and origin.content == content else content
    return _digest([identity, dict(choices)]) if choices else identity


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _settings(file: Path) -> Any:
    """The content of a JSON file that affects vectors or ids; None without the file."""
    return _without_inert(json.loads(file.read_text("utf-8"))) if file.is_file() else None


def _without_inert(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_inert(inner) for key, inner in value.items() if key not in _INERT}
