"""Frees the memory of a network, even while other objects refer to it."""

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from onegen_model.errors import OneGenError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UnloadedNetwork:
    """Replaces a network that was freed; every attribute raises OneGenError."""

    def __getattr__(self, name: str) -> NoReturn:
        raise unloaded()


def free(network: "PreTrainedModel") -> None:
    """Free every weight and buffer in place; a later forward raises OneGenError.

    In place, because requests that were not finished, and the objects of frameworks, may hold
    references to the network for long.
    """
    for module in (network, network.get_decoder()):
        module.register_forward_pre_hook(_refuse)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _refuse(module: nn.Module, inputs: Any) -> NoReturn:
    raise unloaded()


def unloaded() -> OneGenError:
    """The error of every use of an unloaded model."""
    return OneGenError(
        "The model was unloaded; expected a loaded one; load it again with "
        "`OneGenModel.from_pretrained`"
    )
