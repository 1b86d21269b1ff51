"""Compiled layers, for `compile_layers` of a recipe."""

from typing import TYPE_CHECKING

import torch

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.run.trainable import stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def compile_layers(network: "PreTrainedModel", device: torch.device) -> None:
    """Compile each layer with `torch.compile` at its first call.

    Layers of one kind share compiled code, for chunks of any size. Raises InvalidInputError if
    nothing can be compiled for `device`.
    """
    some = torch.ones(8, device=device)
    try:
        torch.compile(torch.square)(some)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInputError(
            f"compile_layers is true, and torch cannot compile for {device.type} here "
            f"({reason}); expected a compiler (on a CPU one of C++); install it, or leave out "
            "compile_layers"
        ) from error
    for layer in stack(network)[0]:
        layer.compile(dynamic=True)
