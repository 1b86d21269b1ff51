"""What a OneGen checkpoint is on disk, and its fingerprint.

A folder with `onegen.json` (template, passage length, base) and either an adapter over a base or
whole weights with their tokenizer; safetensors only. A plain Hugging Face folder loads too, if its
tokenizer has the control tokens.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onegen_model.errors import CheckpointError
from onegen_model.template import Template
from onegen_model.tokens import add_control_tokens, initialise_rows
from onegen_model.weights import default_base_file, file_sha256, prepare_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


DEFAULT_CHECKPOINT = Path(__file__).parent / "default_checkpoint"
CONFIG_FILE = "onegen.json"
ADAPTER_FILE = "adapter_model.safetensors"
FORMAT_VERSION = 1
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Base:
    """What an adapter was trained on. `source` is "default", a folder or a hub id."""

    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """The content of `onegen.json`. Without a `base` the folder holds whole weights."""

    template: Template = field(default_factory=Template)
    max_passage_tokens: int = 128
    base: Base | None = None

    def write(self, folder: Path) -> None:
        """Write `onegen.json`."""
        plain = {
            "format_version": FORMAT_VERSION,
            "template": self.template.to_dict(),
            "max_passage_tokens": self.max_passage_tokens,
            "base": asdict(self.base) if self.base else None,
        }
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "CheckpointConfig":
        """Defaults where the folder has no `onegen.json`; raises CheckpointError."""
        file = folder / CONFIG_FILE
        if not file.is_file():
            return cls()
        try:
            plain: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if plain["format_version"] != FORMAT_VERSION:
                raise CheckpointError(
                    f"{file} has format {plain['format_version']}; expected {FORMAT_VERSION}; "
                    "use the release of onegen that wrote it"
                )
            return cls(
                Template.from_dict(plain["template"]),
                plain["max_passage_tokens"],
                Base(**plain["base"]) if plain["base"] else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{file} cannot be read ({type(error).__name__}: {error}); expected what "
                "`save_pretrained` writes; fetch the checkpoint again"
            ) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. `fingerprint` names weights, tokens, template and passage length."""

    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    config: CheckpointConfig
    fingerprint: str


def load_checkpoint(path_or_id: str | Path | None, dtype: Any, device: str) -> Checkpoint:
    """The default checkpoint (None), a local folder, or a hub id; raises CheckpointError."""
    folder = DEFAULT_CHECKPOINT if path_or_id is None else _find_folder(path_or_id)
    config = CheckpointConfig.read(folder)
    weights = folder if config.base is None else find_base(config.base)
    network, tokenizer = load_weights(weights)
    fingerprint = _fingerprint(folder, config)
    if config.base is not None:
        network = _apply_adapter(network, tokenizer, folder, config)
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


def load_weights(folder: Path) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Network (in the dtype it was saved in) and tokenizer of a Hugging Face folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder} cannot be loaded ({str(error).splitlines()[0]}); expected a causal language "
            "model of Hugging Face with safetensors and a tokenizer; check the folder"
        ) from error
    return network, tokenizer


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
        adapted = PeftModel.from_pretrained(network.float(), str(folder))
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def prepare_tokens(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", template: Template
) -> None:
    """Give a base the control tokens of a template, with their first rows."""
    if add_control_tokens(tokenizer, template.tokens):
        initialise_rows(network, tokenizer, template.tokens)


def _fingerprint(folder: Path, config: CheckpointConfig) -> str:
    weights = config.base.sha256 if config.base else weights_sha256(folder)
    adapter = file_sha256(folder / ADAPTER_FILE) if (folder / ADAPTER_FILE).is_file() else ""
    return fingerprint_of(weights, adapter, config)


def fingerprint_of(weights: str, adapter: str, config: CheckpointConfig) -> str:
    """Names everything an embedding depends on, except dtype and device."""
    parts = [weights, adapter, config.template.to_dict(), config.max_passage_tokens]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
