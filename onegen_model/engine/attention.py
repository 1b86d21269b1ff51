"""4-D attention masks for rows at different positions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from onegen_model.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# The names that Hugging Face configs give to layers whose keys and values can be kept per position.
FULL, SLIDING = "full_attention", "sliding_attention"
Mask = Tensor | dict[str, Tensor | None] | None


@dataclass(frozen=True, slots=True)
class AttentionPattern:
    """`windows` maps a layer type to how far it looks back (None: to the beginning)."""

    windows: dict[str, int | None]
    additive: bool

    @classmethod
    def of(cls, network: "PreTrainedModel") -> "AttentionPattern":
        """Raises CheckpointError for an architecture that a cache of positions cannot serve."""
        config = network.config.get_text_config()
        implementation = config._attn_implementation
        if implementation not in ("sdpa", "eager"):
            raise CheckpointError(
                f'attention "{implementation}" takes no mask per row; expected "sdpa" or "eager"; '
                f'load the model with attn_implementation="sdpa"'
            )
        if obstacle := _obstacle(network, config):
            raise CheckpointError(
                f"{type(network).__name__} has {obstacle}; expected a decoder with full or "
                "sliding-window attention; choose another base model"
            )
        return cls(_windows(config), additive=implementation == "eager")

    def masks(
        self, starts: list[int], lengths: list[int], positions: Tensor, dtype: torch.dtype
    ) -> Mask:
        """What the forward takes as `attention_mask`, for `positions` (rows, width).

        Row `i` reads `lengths[i]` positions from `starts[i]` on. None where the network's own
        causal attention is right: it spares a mask, and often a slower kernel.
        """
        width, need = positions.shape[1], max(map(sum, zip(starts, lengths, strict=True)))
        is_plain = not self.additive and (
            not any(starts) if width > 1 else _decodes_faster_plain(starts, positions.device)
        )
        masks = {
            kind: None
            if is_plain and (window is None or need < window)
            else self._mask(positions, need, window, dtype)
            for kind, window in self.windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, positions: Tensor, need: int, window: int | None, dtype: torch.dtype) -> Tensor:
        keys = torch.arange(need, device=positions.device)
        queries = positions[:, None, :, None]
        visible = keys <= queries
        if window is not None:
            visible &= keys > queries - window
        if not self.additive:
            return visible
        # Eager attention adds the mask to the scores: True would add 1 instead of hiding.
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=positions.device)
        return torch.where(visible, torch.zeros_like(hidden), hidden)


def _decodes_faster_plain(starts: list[int], device: torch.device) -> bool:
    # On a CPU the kernel for grouped heads, which needs no mask, is the slower one: 5 times in
    # bf16 (9 heads on 3, 16 rows of 160 positions: 3.0 ms a layer against 0.6 ms with a mask).
    return device.type != "cpu" and min(starts) == max(starts)


def _windows(config: "PreTrainedConfig") -> dict[str, int | None]:
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        kinds = [FULL if window is None else SLIDING]
    return {kind: window if kind == SLIDING else None for kind in sorted(set(kinds))}


def _obstacle(network: "PreTrainedModel", config: "PreTrainedConfig") -> str:
    kinds = set(getattr(config, "layer_types", None) or ()) - {FULL, SLIDING}
    if config.is_encoder_decoder:
        return "an encoder"
    if getattr(network, "_is_stateful", False):
        return "recurrent layers"
    if kinds:
        return f"layers of the kinds {', '.join(sorted(kinds))}"
    if getattr(config, "attention_chunk_size", None):
        return "chunked attention"
    if getattr(config, "num_kv_shared_layers", None):
        return "layers that share keys and values"
    if getattr(config, "use_bidirectional_attention", False):
        return "bidirectional attention"
    return ""
