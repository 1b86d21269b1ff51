"""Reads the windows that writers plan, several in each forward pass, and asks which tags win."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

import torch

from onegen_model.engine.forward import Chunk, SlotNetwork
from onegen_model.errors import EngineError
from onegen_model.linking.writers import Plan, Writer
from onegen_model.network import advise_dtype, normalise
from onegen_model.transcript.text_tokens import Range

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class ClosedMention:
    """A mention of window `writer`, a range of its tokens, with its link embedding."""

    writer: int
    mention: Range
    embedding: "array[float]"


class WindowReader:
    """Bound to a network."""

    def __init__(self, network: "PreTrainedModel") -> None:
        self._network = network

    def read(self, writers: Sequence[Writer]) -> Iterator[list[ClosedMention]]:
        """Run all writers to their ends side by side; one list for each forward pass.

        Each has a slot of the cache, so that their number bounds the memory.
        """
        slotted = SlotNetwork(self._network)
        owners = [at for at, writer in enumerate(writers) if not writer.is_finished]
        while owners:
            plans = [writers[at].plan() for at in owners]
            yield self._step(slotted, [writers[at] for at in owners], plans, owners)
            self._close_ranks(slotted, writers, owners, plans)

    @torch.inference_mode()
    def _close_ranks(
        self,
        slotted: SlotNetwork,
        writers: Sequence[Writer],
        owners: list[int],
        plans: Sequence[Plan],
    ) -> None:
        """Move the last slots into those of finished writers: consecutive ones need no copy."""
        longest = max(plan.start + len(plan.ids) for plan in plans)
        slot = 0
        while slot < len(owners):
            if not writers[owners[slot]].is_finished:
                slot += 1
            elif slot == len(owners) - 1:
                owners.pop()
            else:
                slotted.cache.copy(len(owners) - 1, slot, 0, longest)
                owners[slot] = owners.pop()

    @torch.inference_mode()
    def _step(
        self,
        slotted: SlotNetwork,
        writers: Sequence[Writer],
        plans: Sequence[Plan],
        owners: Sequence[int],
    ) -> list[ClosedMention]:
        need = max(plan.start + len(plan.ids) for plan in plans)
        if need > slotted.cache.capacity or len(plans) > slotted.cache.num_slots:
            slots = max(len(plans), slotted.cache.num_slots)
            slotted.cache.resize(slots, int(need * _GROWTH))
        chunks = [Chunk(slot, plan.start, plan.ids) for slot, plan in enumerate(plans)]
        links = [(slot, place) for slot, plan in enumerate(plans) for place in plan.links]
        decisions = [(slot, one) for slot, plan in enumerate(plans) for one in plan.decisions]
        found = slotted.compare_at(
            chunks,
            [*links, *((slot, one.at) for slot, one in decisions)] or [(0, 0)],
            [(one.choice.tag, one.choice.text) for _, one in decisions],
        )
        embeddings, margins = normalise(found.hidden[: len(links)]).cpu(), found.margins.tolist()
        if not bool(embeddings.isfinite().all()) or any(map(isnan, margins)):
            raise EngineError(
                f"A link embedding or a logit is not finite in {slotted.dtype}; expected finite "
                f"numbers; {advise_dtype(slotted.dtype)}"
            )
        outcomes, rest = iter(margins), iter(embeddings)
        closed = []
        for owner, writer, plan in zip(owners, writers, plans, strict=True):
            embedded = [next(rest) for _ in plan.links]
            mentions = writer.accept([next(outcomes) for _ in plan.decisions])
            # Links behind what the writer keeps of a draft are those of no mention.
            for mention, embedding in zip(mentions, embedded, strict=False):
                closed.append(ClosedMention(owner, mention, array("f", embedding.tolist())))
        return closed
