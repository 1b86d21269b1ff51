"""The engine on Hugging Face models: one cache, many requests, each at its own position."""

import logging
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

import torch

from onegen_model.engine.attention import context_length
from onegen_model.engine.constraint import Constrain
from onegen_model.engine.forward import Chunk, SlotNetwork
from onegen_model.engine.probe import probe
from onegen_model.engine.sampling import BatchSampler, Choice, TokenSampler
from onegen_model.engine.slots import Slot, SlotPool
from onegen_model.errors import InvalidInputError, ProtocolError
from onegen_model.events import Event, Finished, FinishReason, PassagesInserted
from onegen_model.network import HeadOutput, normalise
from onegen_model.params import SamplingParams
from onegen_model.request import Candidate, ControlIds, Request, State

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# A query embedding, a token, or None where what was read is not finite.
_Outcome: TypeAlias = "array[float] | int | None"


@dataclass(slots=True, eq=False)
class _Row:
    """A request that has a slot. `is_fresh`: other slots may hold what it is about to read."""

    request: Request
    slot: Slot
    sampler: TokenSampler
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """The next `length` unread ids of a row."""

    row: _Row
    length: int


class TransformersEngine:
    """Implements `engine.base.Engine`. Puts the network into eval mode.

    `max_cache_bytes` bounds what finished requests leave behind; running ones take what they
    need. `max_chunk_tokens` bounds the positions of a forward over prompts and passages, padding
    included. `constrain` is needed for requests with a grammar. An error of a forward leaves every
    request as it was: step again, or finish them.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        control: ControlIds,
        *,
        max_cache_bytes: int = 2**30,
        max_chunk_tokens: int = 2048,
        max_rows: int = 64,
        constrain: Constrain | None = None,
    ) -> None:
        self.control = control
        self.forwarded = 0
        self.steps = 0
        network.eval()
        with torch.inference_mode():
            self._network = SlotNetwork(network)
            probe(network)
        self._max_context = context_length(network.config.get_text_config())
        self._max_chunk_tokens = max_chunk_tokens
        self._max_rows = max_rows
        self._pool = SlotPool(
            self._network.cache, max_bytes=max_cache_bytes, max_length=self._max_context
        )
        self._choose = BatchSampler(self._network.device)
        self._constrain = constrain
        self._waiting: deque[tuple[Request, TokenSampler]] = deque()
        self._rows: dict[int, _Row] = {}
        self._events: list[Event] = []
        self._error: Exception | None = None

    @property
    def max_context(self) -> int:
        return self._max_context

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._events or self._error or self._running())

    def add(self, request: Request) -> list[Event]:
        if request.max_context > self._max_context:
            raise InvalidInputError(
                f"request {request.id} may grow to {request.max_context} tokens; expected at most "
                f"{self._max_context}; create it with the engine's `max_context`"
            )
        if request.id in self._rows or any(other.id == request.id for other, _ in self._waiting):
            raise ProtocolError(
                f"request {request.id} is here already; expected a new id; count them up"
            )
        sampler = self._sampler(request.sampling)
        events = request.start()
        if request.state is State.RUNNING:
            self._waiting.append((request, sampler))
        return events

    def _sampler(self, params: SamplingParams) -> TokenSampler:
        if params.grammar is None:
            return TokenSampler(params)
        if self._constrain is None:
            raise InvalidInputError(
                "A grammar for an engine without `constrain`; expected it; create the engine with "
                "a GrammarCompiler"
            )
        return TokenSampler(params, self._constrain(params.grammar))

    def insert(self, request_id: int, candidates: Sequence[Candidate]) -> PassagesInserted:
        row = self._row(request_id)
        event = row.request.insert(candidates)
        row.is_fresh = True
        return event

    def finish(self, request_id: int, reason: FinishReason) -> Finished:
        # What an interrupted step left; nothing comes after the end of a request.
        self._events = [event for event in self._events if event.request_id != request_id]
        for waiting in self._waiting:
            if waiting[0].id == request_id:
                self._waiting.remove(waiting)
                return waiting[0].finish(reason)
        row = self._row(request_id)
        event = row.request.finish(reason)
        self._release(row)
        return event

    def forget(self) -> None:
        """Drop what finished requests left in the cache. Call it after the weights changed."""
        self._pool.forget()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self.steps += 1
        try:
            self._step()
        except Exception as error:
            if not self._events:
                raise
            # Requests have received these events already, so they must be seen first.
            self._error = error
        events, self._events = self._events, []
        return events

    def _step(self) -> None:
        self._admit()
        rows = self._running()
        for row in rows:
            self._reuse(row)
        unread = {row: len(row.request.unread) for row in rows}
        single = [_Part(row, 1) for row in rows if unread[row] == 1]
        longer = [_Part(row, unread[row]) for row in rows if unread[row] > 1]
        if single:
            self._read(single)
        for group in plan_chunks(longer, self._max_chunk_tokens):
            self._read(group)

    def _admit(self) -> None:
        running = len(self._running())
        while self._waiting and running < self._max_rows:
            request, sampler = self._waiting[0]
            slot = self._pool.take(request.ids)
            self._waiting.popleft()
            request.mark_reused(slot.length)
            self._rows[request.id] = _Row(request, slot, sampler)
            running += 1

    def _reuse(self, row: _Row) -> None:
        if row.is_fresh:
            row.request.mark_reused(self._pool.extend(row.slot))
            row.is_fresh = False

    def _read(self, parts: Sequence[_Part]) -> None:
        """One forward, then what it means for each request."""
        self._pool.reserve(max(part.row.slot.length + part.length for part in parts))
        if parts[0].length == 1:
            self._pool.move_to_front([part.row.slot for part in parts])
        parts = sorted(parts, key=lambda part: part.row.slot.index)
        whole = [at for at, part in enumerate(parts) if _is_whole(part)]
        chunks = [
            Chunk(part.row.slot.index, part.row.slot.length, part.row.request.unread[: part.length])
            for part in parts
        ]
        outcomes = self._decide(self._network.read(chunks, whole), [parts[at].row for at in whole])
        # Nothing has changed so far, and nothing below can fail: an error is retried as a whole.
        width = max(part.length for part in parts)
        for part in parts:
            part.row.request.mark_forwarded(part.length, padded=width - part.length)
            part.row.slot.length += part.length
            self.forwarded += part.length
        for row, outcome in outcomes:
            self._report(row, outcome)

    def _decide(self, readout: HeadOutput, rows: Sequence[_Row]) -> list[tuple[_Row, _Outcome]]:
        """What follows from `readout` for rows that are read to their end."""
        asking = [at for at, row in enumerate(rows) if row.request.reads_query]
        writing = [at for at, row in enumerate(rows) if not row.request.reads_query]
        outcomes: list[tuple[_Row, _Outcome]] = []
        if asking:
            embeddings: list[list[float]] = normalise(readout.hidden[asking]).tolist()
            outcomes += [
                (rows[at], array("f", embedding) if all(map(isfinite, embedding)) else None)
                for at, embedding in zip(asking, embeddings, strict=True)
            ]
        if writing:
            logits = readout.logits[writing] if asking else readout.logits
            choices = [
                Choice(row.sampler, row.request.ids, row.request.masked)
                for row in (rows[at] for at in writing)
            ]
            tokens = self._choose(logits, choices)
            outcomes += [(rows[at], token) for at, token in zip(writing, tokens, strict=True)]
        return outcomes

    def _report(self, row: _Row, outcome: _Outcome) -> None:
        request = row.request
        if isinstance(outcome, array):
            self._events += request.receive_query(outcome)
        elif outcome is not None:
            if row.sampler.constraint is not None:
                row.sampler.constraint.accept(outcome)
            self._events += request.receive_token(outcome)
        else:
            logger.error("request %d failed: its logits or its query are not finite", request.id)
            self._events.append(request.finish("failed"))
        if request.state is State.FINISHED:
            self._release(row, keep=outcome is not None)

    def _running(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.request.state is State.RUNNING]

    def _row(self, request_id: int) -> _Row:
        if request_id not in self._rows:
            raise ProtocolError(
                f"request {request_id} is not here; expected one that was added and has not "
                "finished; look at its events"
            )
        return self._rows[request_id]

    def _release(self, row: _Row, *, keep: bool = True) -> None:
        del self._rows[row.request.id]
        self._pool.release(row.slot, keep=keep)


def _is_whole(part: _Part) -> bool:
    return len(part.row.request.unread) == part.length


def plan_chunks(parts: Sequence[_Part], budget: int) -> list[list[_Part]]:
    """Forwards for this step: in order of arrival, at most `budget` ids in all.

    Parts of similar length go together: no forward is padded by more than a quarter, or beyond
    the budget. A part longer than the budget is cut; its rest waits for the next step.
    """
    taken: list[_Part] = []
    left = budget
    for part in parts:
        if part.length > left and taken:
            break
        taken.append(_Part(part.row, min(part.length, left)))
        left -= taken[-1].length
    groups: list[list[_Part]] = []
    tokens = 0
    for part in sorted(taken, key=lambda part: -part.length):
        tokens += part.length
        if groups:
            positions = groups[-1][0].length * (len(groups[-1]) + 1)
            if positions <= min(budget, tokens * 5 // 4):
                groups[-1].append(part)
                continue
        groups.append([part])
        tokens = part.length
    return groups
