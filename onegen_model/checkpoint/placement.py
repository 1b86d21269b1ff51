"""Brings a network to its devices and into its dtype, quantised or not."""

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from onegen_model.checkpoint.options import LoadSettings, Quantization
from onegen_model.errors import CheckpointError, InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OFFLOADED = ("cpu", "disk", "meta")
_PACKAGES: Mapping[Quantization, str] = {"8bit": "torchao", "4bit": "bitsandbytes"}


def arguments_for_whole(settings: LoadSettings) -> dict[str, Any]:
    """Arguments for transformers that place whole weights while they are read.

    Without a device map and quantisation the weights keep the dtype of their file, so that `place`
    rounds once. Raises MissingExtraError where no package for quantisation is installed.
    """
    arguments = settings.further
    if settings.quantization is not None:
        arguments["quantization_config"] = _quantization_config(
            settings.quantization, settings.dtype
        )
    elif not settings.places_itself:
        return arguments
    device_map = settings.device_map
    arguments["device_map"] = {"": settings.main_device} if device_map is None else device_map
    arguments["dtype"] = settings.dtype
    return arguments


def require_whole_base(settings: LoadSettings) -> None:
    """Raise InvalidInputError where an adapter would have to be merged after quantising."""
    if settings.quantization is not None:
        raise InvalidInputError(
            f"quantization={settings.quantization!r} for an adapter, which is merged into its base "
            "before weights are quantised; expected whole weights; write them once with "
            "`OneGenModel.from_pretrained(…).save_pretrained(folder)` and load that folder"
        )


def place(network: "PreTrainedModel", settings: LoadSettings) -> None:
    """Move a network that is on the CPU to the devices and into the dtype of `settings`."""
    convert(network, settings.dtype)
    if settings.device_map is None:
        torch.nn.Module.to(network, device=settings.main_device)
    else:
        _dispatch(network, settings)


def convert(network: "PreTrainedModel", dtype: torch.dtype) -> None:
    """Bring the network into a dtype, but not its rotary frequencies, as transformers does.

    In half precision they would be off by radians at long distances.
    """
    rotary = {name: value for name, value in network.named_buffers() if "inv_freq" in name}
    torch.nn.Module.to(network, dtype=dtype)
    for name, value in rotary.items():
        module, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(module), leaf, value)


def _dispatch(network: "PreTrainedModel", settings: LoadSettings) -> None:
    from accelerate import dispatch_model, infer_auto_device_map

    device_map, further = settings.device_map, settings.further
    if device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        device_map = infer_auto_device_map(
            network,
            max_memory=further.get("max_memory"),
            no_split_module_classes=network._no_split_modules,
        )
    placed = device_map if isinstance(device_map, Mapping) else {"": device_map}
    devices = set(placed.values())
    if len(devices) == 1 and "disk" not in devices:
        torch.nn.Module.to(network, device=devices.pop())
        return
    dispatch_model(network, dict(placed), offload_dir=further.get("offload_folder"))


def require_one_device(network: "PreTrainedModel") -> None:
    """Raises CheckpointError for a network of which several GPUs compute parts."""
    placed = getattr(network, "hf_device_map", None) or {}
    computing = {str(device) for device in placed.values()} - set(_OFFLOADED)
    if len(computing) > 1:
        raise CheckpointError(
            f"The device map spreads the network over {', '.join(sorted(computing))}; expected one "
            'device that computes, with "cpu" or "disk" for what does not fit; name that device, '
            'or bound the others with model_kwargs={"max_memory": …}'
        )


def _quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    """Weights are quantised and activations are not.

    Otherwise vectors would depend on how a sequence is cut into chunks, as with the 8-bit method of
    bitsandbytes. torchao has no 4-bit format for CPUs.
    """
    package = _PACKAGES[quantization]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"quantization={quantization!r} needs the package {package}, which is not installed; "
            f'expected it; run `pip install {package}` or `pip install "onegen[quantization]"`'
        )
    if quantization == "8bit":
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
