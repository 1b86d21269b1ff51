"""A check of a network before it serves: reading in pieces gives the states of one forward."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from onegen_model.engine.forward import Chunk, SlotNetwork
from onegen_model.errors import CheckpointError
from onegen_model.network import advise_dtype, read

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_EXACT = (torch.float32, torch.float64)
# What the probe reads, for two slots in turn: prompts, an inserted chunk, single tokens.
_PROBE = (((0, 7), (1, 4)), ((1, 3),), ((0, 1), (1, 1)), ((0, 4), (1, 2)))

_passed: "weakref.WeakSet[PreTrainedModel]" = weakref.WeakSet()


def mark_passed(network: "PreTrainedModel") -> None:
    """Let `probe` believe that a copy of this network has passed it on the CPU."""
    _passed.add(network)


@torch.inference_mode()
def probe(network: "PreTrainedModel") -> None:
    """Read a few ids through a slot cache and cleanly, and compare the last hidden states.

    Raises CheckpointError where they differ: for architectures that do not follow positions or
    masks, which no configuration says, and for networks that do not compute in their dtype.
    """
    if network in _passed and network.device.type == "cpu":
        return
    size = network.config.get_text_config().vocab_size
    sequences = [[(7 + 31 * at * (slot + 1)) % size for at in range(12)] for slot in range(2)]
    try:
        cached, clean = _read_in_steps(network, sequences)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(_unreadable(network, error)) from error
    if not (cached.isfinite().all() and clean.isfinite().all()):
        raise CheckpointError(
            f"{type(network).__name__} gives hidden states that are not finite in "
            f"{network.dtype}; expected finite numbers; {advise_dtype(network.dtype)}"
        )
    likeness = torch.nn.functional.cosine_similarity(cached.double(), clean.double(), dim=-1).min()
    # Half precision rounds differently in each shape of a forward, and more so with experts.
    if not likeness > (0.999 if network.dtype in _EXACT else 0.9):
        advice = "choose another base model"
        if network.dtype not in _EXACT:
            advice = f'load the model with dtype="float32" in case {network.dtype} is too coarse, '
            advice += "or choose another base model"
        raise CheckpointError(
            _unsuited(network, f"hidden states agree to {likeness:.4f} only", advice)
        )


def _read_in_steps(
    network: "PreTrainedModel", sequences: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states (2, width), through slots and cleanly."""
    slotted = SlotNetwork(network)
    slotted.cache.resize(len(sequences), len(sequences[0]))
    starts = [0] * len(sequences)
    for step in _PROBE:
        chunks = []
        for slot, length in step:
            start, stop = starts[slot], starts[slot] + length
            chunks.append(Chunk(slot, start, sequences[slot][start:stop]))
            starts[slot] = stop
        cached = slotted.read(chunks, range(len(chunks))).hidden
    clean = []
    for ids, stop in zip(sequences, starts, strict=True):
        batch = torch.tensor([ids[:stop]], device=network.device)
        last = torch.tensor([stop - 1], device=network.device)
        clean.append(read(network, (last * 0, last), input_ids=batch, use_cache=False).hidden)
    return cached, torch.cat(clean)


def _unreadable(network: "PreTrainedModel", error: Exception) -> str:
    symptom = str(error)
    # As torch words it: "addmm_impl_cpu_" not implemented for 'Half'.
    if "not implemented for" in symptom:
        return (
            f"{type(network).__name__} does not compute in {network.dtype} on {network.device} "
            f"({symptom}); expected a dtype that the device computes in; load the model with "
            'dtype="float32"'
        )
    return _unsuited(network, symptom, "choose another base model")


def _unsuited(network: "PreTrainedModel", symptom: str, advice: str) -> str:
    return (
        f"{type(network).__name__} cannot be read in pieces ({symptom}); expected the same hidden "
        f"states as in one forward; {advice}"
    )
