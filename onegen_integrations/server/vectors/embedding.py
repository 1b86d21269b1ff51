"""Embeddings for one request: in slices, so that long requests do not hold up short ones."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.serving import serving_of
from onegen_integrations.server.vectors.turns import Turns
from onegen_model import OneGenModel, Passage
from onegen_model.errors import ContextTooLongError, PassageTooLongError

T = TypeVar("T")
Vectors = NDArray[np.float32]

# Texts that are embedded before another request has its turn.
_SLICE = 64


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A model that embeds for one request, as long as its client waits."""

    model: OneGenModel
    turns: Turns
    request: Request

    async def queries(self, texts: Sequence[str], param: str) -> Vectors:
        """As they are at a query token; raises ParameterError for a text that is too long."""
        return await self._embed(self.model.embed_queries, texts, param)

    async def passages(self, passages: Sequence[Passage], param: str) -> Vectors:
        """Raises ParameterError for a passage that is too long."""
        return await self._embed(self.model.embed_passages, passages, param)

    async def _embed(
        self, embed: Callable[[Sequence[T]], Vectors], items: Sequence[T], param: str
    ) -> Vectors:
        rows = [np.empty((0, self.model.dimension), np.float32)]
        with serving_of(self.request).observer.computing("embeddings", self.model):
            for start in range(0, len(items), _SLICE):
                async with self.turns.turn:
                    if await self.request.is_disconnected():
                        raise ClientDisconnect
                    some = items[start : start + _SLICE]
                    where = f"{param} from {start} on: " if start else ""
                    rows.append(await asyncio.to_thread(_checked, embed, some, param, where))
        return np.concatenate(rows)


def _checked(
    embed: Callable[[Sequence[T]], Vectors], some: Sequence[T], param: str, where: str
) -> Vectors:
    """`where` is the place of the slice in the parameter; errors count from its beginning."""
    try:
        return embed(some)
    except (ContextTooLongError, PassageTooLongError) as error:
        code = "context_length_exceeded"
        raise ParameterError(f"{where}{error}", param=param, code=code) from None
