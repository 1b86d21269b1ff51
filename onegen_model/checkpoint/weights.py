"""Loads networks and tokenizers from Hugging Face folders, and merges adapters into their base."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from onegen_model.checkpoint.config import ADAPTER_FILE, CONFIG_FILE, Base, CheckpointConfig
from onegen_model.checkpoint.default_base import default_base_file, file_sha256, prepare_base
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.checkpoint.hub import find_folder
from onegen_model.checkpoint.load_errors import refuse_foreign_code, refuse_pickles, unloadable
from onegen_model.errors import CheckpointError
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens, initialise_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WHOLE = "a causal language model of Hugging Face with safetensors and a tokenizer"
_NONE: Mapping[str, Any] = MappingProxyType({})


def find_base(base: Base) -> Path:
    """The folder of a base; raises CheckpointError unless it holds the weights named by `base`."""
    if base.source == "default":
        file = default_base_file()
        if (found := file_sha256(file)) == base.sha256:
            return prepare_base(file)
        where = str(file)
    else:
        folder = find_folder(base.source)
        if (found := weights_sha256(folder)) == base.sha256:
            return folder
        where = base.source
    raise CheckpointError(
        f"{where} holds other weights ({found[:12]}…); expected the base that the adapter was "
        f"trained on ({base.sha256[:12]}…); install that one"
    )


def load_weights(
    folder: Path,
    tokenizer_options: Mapping[str, bool] = _NONE,
    model_kwargs: Mapping[str, Any] = _NONE,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Network and tokenizer of a Hugging Face folder; raises CheckpointError.

    The network is on the CPU and in the dtype of its file, unless `model_kwargs` say otherwise.
    Code in the folder is never run.
    """
    tokenizer = load_tokenizer(folder, tokenizer_options)
    return load_network(folder, model_kwargs), tokenizer


def load_network(folder: Path, model_kwargs: Mapping[str, Any] = _NONE) -> "PreTrainedModel":
    """The network of `load_weights`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    refuse_foreign_code(folder)
    refuse_pickles(folder)
    arguments = {"dtype": "auto", **model_kwargs, "trust_remote_code": False}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **arguments
        )
    except Exception as error:  # Damage shows in a dozen kinds of errors, some of them bare.
        raise unloadable(folder, error, _WHOLE) from error
    network: PreTrainedModel
    network, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{folder} lacks {len(missing)} tensors of its network ({missing[0]}, for example); "
            "expected all of them, because missing ones would be random; download the whole "
            "checkpoint"
        )
    return network


def load_tokenizer(folder: Path, options: Mapping[str, bool] = _NONE) -> "PreTrainedTokenizerBase":
    """The tokenizer of a Hugging Face folder; raises CheckpointError."""
    from transformers import AutoTokenizer

    refuse_foreign_code(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, **options
        )
    except Exception as error:  # As in `load_weights`.
        raise unloadable(folder, error, _WHOLE) from error
    return tokenizer


def apply_adapter(
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    config: CheckpointConfig,
) -> "PreTrainedModel":
    """Merge in float32, so that the dtype asked for rounds only once."""
    if not (folder / ADAPTER_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {ADAPTER_FILE}; expected one, because {CONFIG_FILE} names a base; "
            "download the checkpoint again"
        )
    # Imported here, because PEFT takes seconds to import and whole checkpoints do not need it.
    from peft import PeftModel

    prepare_tokens(network, tokenizer, config.template)
    with warnings.catch_warnings():
        # PEFT uses a name that transformers renamed, which the caller cannot change.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            adapted = PeftModel.from_pretrained(network.float(), str(folder))
        except Exception as error:  # As in `load_weights`.
            what = "an adapter that PEFT wrote for the base"
            raise unloadable(folder, error, what) from error
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def prepare_tokens(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", template: Template
) -> None:
    """Give a base the control tokens of a template, with their first rows."""
    if add_control_tokens(tokenizer, template.added_tokens):
        initialise_rows(network, tokenizer, template.added_tokens)


def prepare_tokenizer(folder: Path, template: Template) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base, with the control tokens of a template."""
    tokenizer = load_tokenizer(folder)
    add_control_tokens(tokenizer, template.added_tokens)
    return tokenizer
