"""Weights with their adapter merged: merged once, then mapped from the cache folder.

`ONEGEN_MERGED=0` turns the cache off. The weights are those of a merge in this process, to the bit:
each folder is read back and compared before it is used, and its name covers all that went into it.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch
from safetensors.torch import save_file

from onegen_model.checkpoint.config import ADAPTER_CONFIG, ADAPTER_FILE, CheckpointConfig
from onegen_model.checkpoint.default_base import cache_dir, file_sha256, remember_sha256
from onegen_model.checkpoint.options import LoadSettings
from onegen_model.checkpoint.placement import convert
from onegen_model.checkpoint.weights import (
    apply_adapter,
    load_network,
    load_weights,
    prepare_tokenizer,
)
from onegen_model.engine.probe import mark_passed, probe
from onegen_model.errors import CheckpointError
from onegen_model.files import sha256_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Change it when a merge of the same files gives something else than before.
_FORMAT = 1
_MANIFEST = "merged.json"
_BASE_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model")
# Small networks are merged faster than they are found, and large ones would fill the disk.
_LEAST_BYTES = 32 * 2**20
_MOST_BYTES = 4 * 2**30
_KEPT_BYTES = 8 * 2**30
_STALE_SECONDS = 3600.0


def load_adapted(
    folder: Path, weights: Path, config: CheckpointConfig, settings: LoadSettings
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Network, on the CPU in the dtype of `settings`, and tokenizer of an adapter.

    `weights` is the folder of its base. Raises CheckpointError.
    """
    arguments = settings.further
    cached = _find_cached(folder, weights, config, settings)
    network = cached.load(arguments) if cached else None
    if network is not None:
        mark_passed(network)
        return network, prepare_tokenizer(weights, config.template)
    network, tokenizer = load_weights(weights, model_kwargs=arguments)
    network = apply_adapter(network, tokenizer, folder, config)
    convert(network, settings.dtype)
    if cached:
        cached.store(network, arguments)
    return network, tokenizer


def _find_cached(
    folder: Path, weights: Path, config: CheckpointConfig, settings: LoadSettings
) -> "_CachedWeights | None":
    """None where the cache is turned off, or would not have the same network."""
    if os.environ.get("ONEGEN_MERGED", "1").strip().lower() in ("0", "false", "no", "off"):
        return None
    if settings.changes_vectors or not (folder / ADAPTER_FILE).is_file():
        return None
    files = [folder / ADAPTER_FILE, folder / ADAPTER_CONFIG]
    files += sorted({file for pattern in _BASE_FILES for file in weights.glob(pattern)})
    parts = [
        _FORMAT,
        *(version(package) for package in ("onegen", "torch", "transformers", "peft")),
        str(settings.dtype),
        config.template.added_tokens,
        *((file.name, file_sha256(file)) for file in files if file.is_file()),
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return _CachedWeights(cache_dir() / "merged" / key[:32])


@dataclass(frozen=True, slots=True)
class _CachedWeights:
    """A folder as `save_pretrained` writes it, with the digests of its files."""

    folder: Path

    def load(self, arguments: Mapping[str, Any]) -> "PreTrainedModel | None":
        """The network, whose weights are pages of the file; None where none is kept.

        A damaged folder is removed with a warning. A whole one that cannot be loaded stays: what
        is wrong then, such as a missing package, is reported when the weights are merged anew.
        """
        try:
            digests = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
            for name, digest in dict(digests).items():
                if file_sha256(self.folder / name) != digest:
                    raise ValueError(f"{name} has changed")
        except (OSError, TypeError, ValueError) as error:
            if not self.folder.is_dir():
                return None
            logger.warning("%s is damaged (%s); it is made again", self.folder, error)
            shutil.rmtree(self.folder, ignore_errors=True)
            return None
        try:
            network = load_network(self.folder, arguments)
        except (OSError, TypeError, ValueError, CheckpointError) as error:
            logger.warning("%s cannot be loaded (%s); the weights are merged", self.folder, error)
            return None
        with suppress(OSError):
            os.utime(self.folder / _MANIFEST)
        return network

    def store(self, network: "PreTrainedModel", arguments: Mapping[str, Any]) -> None:
        """Keep the weights if that pays and there is room; a failure changes nothing."""
        size = _num_bytes(network)
        try:
            if not _LEAST_BYTES <= size <= _MOST_BYTES:
                return
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder.parent).free < 2 * size:
                logger.info("%s has no room for merged weights", self.folder.parent)
                return
            # Another process that holds the lock is writing the same weights.
            with filelock.FileLock(self.folder.with_suffix(".lock"), timeout=0):
                if not self.folder.is_dir() and self._write(network, arguments):
                    _prune(self.folder)
        except filelock.Timeout:
            logger.debug("Another process keeps %s", self.folder)
        except Exception as error:  # safetensors has an error class of its own for a full disk.
            logger.info("Merged weights are not kept in %s (%s)", self.folder, error)

    def _write(self, network: "PreTrainedModel", arguments: Mapping[str, Any]) -> bool:
        """The caller holds the lock, so a temporary folder of that name is a leftover."""
        temporary = self.folder.with_name(f".merging-{self.folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _save(network, temporary)
            loaded = load_network(temporary, arguments)
            probe(loaded)  # A network that is kept need not be probed at every start.
            if not _are_same(network, loaded):
                logger.info("Merged weights change when they are saved, and are not kept")
                return False
            digests = {file.name: sha256_of(file) for file in sorted(temporary.iterdir())}
            (temporary / _MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
            temporary.replace(self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for name, digest in digests.items():
            remember_sha256(self.folder / name, digest)
        return True


def _save(network: "PreTrainedModel", folder: Path) -> None:
    """As `save_pretrained` does, which would import every framework that may wrap a network."""
    folder.mkdir()
    tensors: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in network.state_dict().items():
        tensors.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))  # tied ones once
    save_file(dict(tensors.values()), folder / "model.safetensors", metadata={"format": "pt"})
    config = copy.deepcopy(network.config)
    config.dtype = network.dtype
    config.save_pretrained(folder)
    if network.generation_config is not None:
        network.generation_config.save_pretrained(folder)
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _num_bytes(network: "PreTrainedModel") -> int:
    return sum(one.numel() * one.element_size() for one in network.parameters())


def _are_same(one: "PreTrainedModel", other: "PreTrainedModel") -> bool:
    """Whether two networks have the same parameters and buffers, and end their texts alike."""
    tensors, others = (
        {**dict(network.named_parameters()), **dict(network.named_buffers())}
        for network in (one, other)
    )
    ends, other_ends = (
        getattr(network.generation_config, "eos_token_id", None) for network in (one, other)
    )
    return (
        type(one) is type(other)
        and ends == other_ends
        and tensors.keys() == others.keys()
        and all(
            tensor.dtype == others[name].dtype and torch.equal(tensor, others[name])
            for name, tensor in tensors.items()
        )
    )


def _prune(newest: Path) -> None:
    """Remove the folders that were not used for longest, and what killed processes left."""
    now, kept = time.time(), 0
    manifests = newest.parent.glob(f"*/{_MANIFEST}")
    for manifest in sorted(manifests, key=lambda file: file.stat().st_mtime, reverse=True):
        kept += sum(file.stat().st_size for file in manifest.parent.iterdir())
        if kept > _KEPT_BYTES and manifest.parent != newest:
            shutil.rmtree(manifest.parent, ignore_errors=True)
    for leftover in newest.parent.glob(".merging-*"):
        if now - leftover.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)
