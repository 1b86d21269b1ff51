"""Ids to embeddings: a clean forward, read at the last id of each sequence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from onegen_model.batches import BATCH_TOKENS, batches_by_length
from onegen_model.errors import ContextTooLongError, OneGenError
from onegen_model.network import (
    advise_dtype,
    context_length,
    normalise,
    pad_rows,
    read_hidden,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def embed_ids(
    network: "PreTrainedModel",
    sequences: Sequence[Sequence[int]],
    *,
    names: Sequence[str] | None = None,
    progress: bool = False,
    batch: int = BATCH_TOKENS,
) -> NDArray[np.float32]:
    """Unit vectors (n, width), in the order of `sequences`; sorted by length inside.

    A forward has at most `batch` positions, padding included, and at least one sequence. Errors
    name a sequence by its entry in `names`. Raises ContextTooLongError before any forward for a
    sequence that is longer than the context, and OneGenError for a vector that is not finite.
    """
    names = names or [f"sequences[{at}]" for at in range(len(sequences))]
    config = network.config.get_text_config()
    _require_room(sequences, names, context_length(config))
    vectors = np.empty((len(sequences), config.hidden_size), np.float32)
    with tqdm(total=len(sequences), desc="embedding", unit="", disable=not progress) as bar:
        for some in batches_by_length(list(map(len, sequences)), batch):
            vectors[some] = _embed_batch(network, [sequences[i] for i in some])
            _require_finite(vectors, some, names, network.dtype)
            bar.update(len(some))
    return vectors


def _require_room(sequences: Sequence[Sequence[int]], names: Sequence[str], longest: int) -> None:
    for name, sequence in zip(names, sequences, strict=True):
        if len(sequence) > longest:
            raise ContextTooLongError(
                f"{name} has {len(sequence)} tokens with its prompt; expected at most {longest}, "
                "the context of the model; shorten it"
            )


def _require_finite(
    vectors: NDArray[np.float32], rows: Sequence[int], names: Sequence[str], dtype: torch.dtype
) -> None:
    finite = np.isfinite(vectors[rows]).all(axis=1)
    if not finite.all():
        name = names[rows[int(finite.argmin())]]
        raise OneGenError(
            f"The embedding of {name} is not finite in {dtype}; expected finite numbers; "
            f"{advise_dtype(dtype)}"
        )


@torch.inference_mode()
def _embed_batch(
    network: "PreTrainedModel", sequences: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    inputs = {name: rows.to(network.device) for name, rows in pad_rows(sequences, 0).items()}
    last = inputs["attention_mask"].sum(dim=1) - 1
    at = (torch.arange(len(sequences), device=network.device), last)
    hidden = read_hidden(network, inputs["input_ids"], inputs["attention_mask"], at)
    embedded: NDArray[np.float32] = normalise(hidden).cpu().numpy()
    return embedded
