"""One forward of a Hugging Face causal LM, read at chosen positions.

The hidden state that enters the output head is the embedding; the logits there are those of the
network, with whatever it does around its head (scaling, soft-capping). Engine, embedder and
training all read through `read` and `read_hidden`.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Rotary embeddings that change with the length of the batch, once it exceeds the original one.
_LENGTH_DEPENDENT = ("dynamic", "longrope")
# (rows, columns) to read, one pair per result; None reads nothing.
Positions = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """`hidden` (positions, width) after the final norm; `logits` (positions, vocabulary)."""

    hidden: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class Margins:
    """`hidden` (positions, width) after the final norm; by how much (pairs,) the logit of one id
    exceeds that of another."""

    hidden: Tensor
    margins: Tensor


class _Selection(threading.local):
    positions: Positions | None = None
    is_silent = False
    hidden: Tensor | None = None

    def __reduce__(self) -> tuple[type["_Selection"], tuple[()]]:
        # A network is copied together with this hook, and thread-locals cannot be copied.
        return _Selection, ()


class _HeadReader:
    """Narrows the input of the output head to the selected positions and keeps it. A silent
    selection lets the head compute nothing.

    Registered once per head and inert unless its thread has a selection, so embedding in one
    thread does not disturb generation in another.
    """

    def __init__(self, head: nn.Module) -> None:
        self.selection = _Selection()
        self.is_plain: bool | None = None
        """Whether logits are what the head computes, and nothing else; None: not known yet."""
        head.register_forward_pre_hook(self)

    def __call__(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        selection = self.selection
        if selection.positions is None:
            return None
        rows, columns = selection.positions
        selection.hidden = hidden = args[0][rows, columns]
        return ((hidden[:0] if selection.is_silent else hidden).unsqueeze(0), *args[1:])


_ATTRIBUTE = "_onegen_head_reader"


def _head_reader(network: "PreTrainedModel") -> _HeadReader:
    head = network.get_output_embeddings()
    reader = getattr(head, _ATTRIBUTE, None)
    if reader is None:
        reader = _HeadReader(head)
        object.__setattr__(head, _ATTRIBUTE, reader)
    return reader


def read(network: "PreTrainedModel", positions: Positions, **inputs: Any) -> HeadOutput:
    """Run `network(**inputs)` and read hidden states and logits at `positions` only."""
    return _read(network, positions, inputs)


def read_margins(
    network: "PreTrainedModel", positions: Positions, pairs: Tensor, **inputs: Any
) -> Margins:
    """Like `read`, where only two logits matter: `pairs` (n, 2) are the ids to compare at each of
    the last n of `positions`.

    A plain linear head computes these two rows alone, which is what most networks have; the first
    forward of a network tells by its logits.
    """
    reader, head = _head_reader(network), network.get_output_embeddings()
    is_linear = type(head) is nn.Linear and _is_unhooked(head)
    is_silent = is_linear and reader.is_plain is True
    found = _read(network, positions, inputs, is_silent=is_silent)
    first = len(found.hidden) - len(pairs)
    asked = found.hidden[first:]
    if is_linear and reader.is_plain is None:
        expected = head(found.hidden.unsqueeze(0))[0]  # in the shape of the forward
        reader.is_plain = torch.allclose(found.logits.to(expected), expected, *_SAME)
    # The first forward, too, so that it does not decide otherwise than the next by the rounding
    # of its logits.
    if is_linear and reader.is_plain:
        return Margins(found.hidden, _compare_rows(head, asked, pairs))
    logits = found.logits[first:].gather(1, pairs.to(found.logits.device)).double()
    return Margins(found.hidden, logits[:, 0] - logits[:, 1])


# Relative and absolute: soft-capping and scaling differ by more.
_SAME = (1e-4, 1e-5)


def _is_unhooked(head: nn.Module) -> bool:
    """Whether nothing but the reader of hidden states is attached to a module."""
    is_wrapped = "forward" in vars(head)
    return not is_wrapped and not head._forward_hooks and len(head._forward_pre_hooks) == 1


def _compare_rows(head: nn.Module, hidden: Tensor, pairs: Tensor) -> Tensor:
    assert isinstance(head, nn.Linear)
    one, other = pairs.to(head.weight.device).unbind(1)
    rows = head.weight[one].double() - head.weight[other].double()
    margins = (hidden.to(rows) * rows).sum(-1)
    if head.bias is not None:
        margins += (head.bias[one] - head.bias[other]).to(margins)
    return margins


def _read(
    network: "PreTrainedModel", positions: Positions, inputs: Any, *, is_silent: bool = False
) -> HeadOutput:
    reader = _head_reader(network)
    selection = reader.selection
    selection.positions, selection.is_silent = positions, is_silent
    try:
        logits = network(**inputs).logits
        hidden = selection.hidden
    finally:
        selection.positions = selection.hidden = None
        selection.is_silent = False
    if hidden is None:
        raise RuntimeError(f"{type(network).__name__} did not call its output embeddings")
    return HeadOutput(hidden, logits[0])


def read_hidden(
    network: "PreTrainedModel", input_ids: Tensor, attention_mask: Tensor, positions: Positions
) -> Tensor:
    """Hidden states (positions, width) of a clean forward over right-padded rows, no logits."""
    decoder = network.get_decoder()
    hidden: Tensor = decoder(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False
    ).last_hidden_state
    rows, columns = positions
    return hidden[rows, columns]


def normalise(hidden: Tensor) -> Tensor:
    """Unit vectors in fp32: the embeddings of the paper (section 3.2), compared by dot product."""
    return nn.functional.normalize(hidden.float(), dim=-1)


def advise_dtype(dtype: torch.dtype) -> str:
    """What to do about numbers that are not finite."""
    if dtype == torch.float16:
        return (
            "float16 overflows beyond 65504, which is the likely cause; load the model with "
            'dtype="bfloat16" or dtype="float32"'
        )
    if dtype == torch.bfloat16:
        return 'load the model with dtype="float32"; if that does not help, its weights are damaged'
    return "its weights are likely damaged; download the checkpoint again"


def pad_rows(sequences: Sequence[Sequence[int]], pad_id: int) -> Mapping[str, Tensor]:
    """Right-padded `input_ids` and `attention_mask`, both (rows, longest)."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def context_length(config: "PreTrainedConfig") -> int:
    """The longest sequence whose cached keys stay valid, in tokens."""
    longest = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if part.get("rope_type") in _LENGTH_DEPENDENT:
            longest = min(longest, int(part.get("original_max_position_embeddings") or longest))
    return longest
