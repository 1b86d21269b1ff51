"""Options of loading a checkpoint; they are checked before anything is downloaded or read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import torch

from onegen_model.checkpoint.dtypes import find_dtype
from onegen_model.errors import InvalidInputError

Quantization = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str]

# Arguments of transformers that an option replaces, or that would run a checkpoint's code.
_OURS = {
    "config": "a folder with its own config.json",
    "device_map": "device_map",
    "dtype": "dtype",
    "gguf_file": "a folder with safetensors",
    "quantization_config": 'quantization="8bit" or "4bit"',
    "revision": "revision",
    "state_dict": "a folder with safetensors",
    "torch_dtype": "dtype",
    "trust_remote_code": "a checkpoint without code of its own",
    "use_safetensors": "a folder with safetensors",
}
# Arguments of transformers that change no vector.
_NEUTRAL = frozenset(
    {
        *("attn_implementation", "experts_implementation", "low_cpu_mem_usage", "max_memory"),
        *("offload_buffers", "offload_folder", "offload_state_dict"),
        *("cache_dir", "local_files_only", "token"),
    }
)


class LoadOptions(TypedDict, total=False):
    """Further arguments of `OneGenModel.from_pretrained`.

    `revision`: a branch, tag or commit of a hub id.

    `device_map`: "auto", a device, or a mapping from modules to devices, as transformers takes it.
    One device computes; modules may be offloaded to "cpu" or "disk". A map that spreads the network
    over several GPUs is refused: the cache of the engine is on one device. An adapter is merged on
    the CPU first, so its base needs memory there in float32.

    `quantization`: "8bit" (needs torchao) or "4bit" (NF4, needs bitsandbytes); weights alone are
    quantised. Adapter checkpoints, the default one among them, are refused: an adapter is merged
    into whole weights before these are quantised. Save the merged model and load that folder. The
    vectors differ from those of the unquantised network by more than rounding, so the fingerprint
    differs too, and an index has to be built with the quantised model. It cannot be saved.

    `model_kwargs`: further arguments for `AutoModelForCausalLM.from_pretrained`. Those that may
    change vectors become part of the fingerprint.
    """

    revision: str | None
    device_map: DeviceMap | None
    quantization: Quantization | None
    model_kwargs: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How weights are loaded: see `LoadOptions`. Raises InvalidInputError."""

    dtype: torch.dtype
    device: str | None = None
    revision: str | None = None
    device_map: DeviceMap | None = None
    quantization: Quantization | None = None
    model_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.quantization not in (None, *get_args(Quantization)):
            raise InvalidInputError(
                f'quantization={self.quantization!r}; expected "8bit", "4bit" or None; change '
                "quantization"
            )
        if self.device is not None and self.device_map is not None:
            raise InvalidInputError(
                f"device={self.device!r} and device_map={self.device_map!r}; expected one of them; "
                "leave out device"
            )
        if not isinstance(self.model_kwargs, Mapping | None):
            raise InvalidInputError(
                f"model_kwargs is of type {type(self.model_kwargs).__name__}; expected a dict of "
                "arguments for transformers; change model_kwargs"
            )
        for name in sorted(_OURS.keys() & self.further.keys()):
            raise InvalidInputError(
                f"model_kwargs has {name!r}; expected {_OURS[name]} instead; take it out of "
                "model_kwargs"
            )

    @property
    def further(self) -> dict[str, Any]:
        """Arguments for transformers, as they were given."""
        return dict(self.model_kwargs or {})

    @property
    def changes_vectors(self) -> dict[str, Any]:
        """The options besides dtype and device that change vectors, JSON-able."""
        further = {name: str(at) for name, at in self.further.items() if name not in _NEUTRAL}
        chosen = {"quantization": self.quantization, "model_kwargs": further}
        return {name: value for name, value in chosen.items() if value}

    @property
    def places_itself(self) -> bool:
        """Whether transformers brings whole weights to their devices while it reads them."""
        return self.device_map is not None or self.quantization is not None

    @property
    def main_device(self) -> str:
        """The device that computes, unless a map names another."""
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


def settings_of(dtype: str | torch.dtype, device: str | None, options: LoadOptions) -> LoadSettings:
    """Raises InvalidInputError, and TypeError for an option that does not exist."""
    for name in sorted(options.keys() - LoadOptions.__annotations__.keys()):
        expected = _OURS.get(name, ", ".join(LoadOptions.__annotations__))
        raise TypeError(f"from_pretrained has no argument {name!r}; expected {expected}; change it")
    found = dtype if isinstance(dtype, torch.dtype) else find_dtype(dtype)
    return LoadSettings(found, device, **options)


def require_device(device: str | None) -> None:
    """Raise InvalidInputError where torch has no such device."""
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInputError(
            f"device={device!r} cannot be used ({reason}); expected a device of this machine, as "
            'torch names it, such as "cpu" or "cuda:0"; change device, or leave it out'
        ) from error
