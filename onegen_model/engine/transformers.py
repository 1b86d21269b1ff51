"""The engine on Hugging Face models: one cache, many requests, each at its own position."""

import logging
from array import array
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

import torch

from onegen_model.engine.chunks import Row, RowChunk, plan_forwards, without_repeats
from onegen_model.engine.constraint import Constrain
from onegen_model.engine.forward import Chunk, SlotNetwork
from onegen_model.engine.probe import probe
from onegen_model.engine.sampling import (
    BatchSampler,
    Choice,
    Sampled,
    TokenSampler,
    with_logprobs,
)
from onegen_model.engine.slots import SlotPool
from onegen_model.errors import EngineError, InvalidInputError, ProtocolError, is_out_of_memory
from onegen_model.events import Event, Finished, FinishReason
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.network import HeadOutput, context_length, normalise
from onegen_model.params import SamplingParams
from onegen_model.request import Request, State

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# A query embedding, a token, or None where what was read is not finite.
_Outcome: TypeAlias = "array[float] | Sampled | None"


class TransformersEngine:
    """Implements `engine.base.StepEngine`. Puts the network into eval mode.

    `max_requests` bounds the requests that hold a slot, those that await passages included.
    `max_cache_bytes` bounds what finished requests leave behind. `max_chunk_tokens` bounds the
    positions of a forward over prompts and passages, padding included. `constrain` is needed for
    requests with a grammar. `sampler` may be replaced at any time, by a script for example. A
    forward that fails is tried with fewer rows, then fewer ids; a row that still fails ends alone.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        *,
        max_cache_bytes: int = 2**30,
        max_chunk_tokens: int = 2048,
        max_requests: int = 64,
        constrain: Constrain | None = None,
        sampler: BatchSampler | None = None,
    ) -> None:
        self.forwarded = self.steps = 0
        network.eval()
        with torch.inference_mode():
            self._network = SlotNetwork(network)
            probe(network)
        text_config = network.config.get_text_config()
        self._max_context = context_length(text_config)
        self._vocabulary_size = int(text_config.vocab_size)
        self._max_chunk_tokens = max_chunk_tokens
        self._max_requests = max_requests
        self._pool = SlotPool(
            self._network.cache, max_bytes=max_cache_bytes, max_length=self._max_context
        )
        self.sampler, self._constrain = sampler or BatchSampler(), constrain
        self._rows: dict[int, Row] = {}
        self._events: list[Event] = []

    @property
    def max_context(self) -> int:
        return self._max_context

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size

    @property
    def has_room(self) -> bool:
        return len(self._rows) < self._max_requests

    @property
    def cache_usage(self) -> float:
        return self._pool.usage

    @property
    def is_idle(self) -> bool:
        return not (self._events or self._running())

    @torch.inference_mode()
    def add(self, request: Request) -> list[Event]:
        self._require_servable(request)
        sampler = self._sampler(request.sampling)
        events = request.start()
        if request.state is State.RUNNING:
            slot = self._pool.take(request.ids)
            request.mark_reused(slot.length)
            self._rows[request.id] = Row(request, slot, sampler)
        return events

    def _require_servable(self, request: Request) -> None:
        if request.max_context > self._max_context:
            raise InvalidInputError(
                f"request {request.id} may grow to {request.max_context} tokens; expected at most "
                f"{self._max_context}; create it with the engine's `max_context`"
            )
        if request.id in self._rows:
            raise ProtocolError(
                f"request {request.id} is here already; expected a new id; count them up"
            )
        if not (self.has_room or request.prompt.is_nested):
            raise ProtocolError(
                f"{len(self._rows)} requests hold all slots; expected `has_room`; add it later"
            )

    def _sampler(self, params: SamplingParams) -> TokenSampler:
        if params.grammar is None:
            return TokenSampler(params)
        if self._constrain is None:
            raise InvalidInputError(
                "A grammar for an engine without `constrain`; expected it; create the engine with "
                "a GrammarCompiler"
            )
        return TokenSampler(params, self._constrain(params.grammar))

    def insert(
        self, request_id: int, candidates: Sequence[Candidate], empty: EmptySearch | None = None
    ) -> list[Event]:
        row = self._row(request_id)
        events = row.request.insert(candidates, empty)
        row.is_fresh = True
        if row.request.state is State.FINISHED:
            self._release(row)
        return events

    def finish(self, request_id: int, reason: FinishReason) -> Finished:
        # What an interrupted step left; nothing comes after the end of a request.
        self._events = [event for event in self._events if event.request_id != request_id]
        row = self._row(request_id)
        event = row.request.finish(reason)
        self._release(row)
        return event

    def forget(self) -> None:
        """Drop what finished requests left in the cache. Call it after the weights changed."""
        self._pool.forget()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        self.steps += 1
        rows = self._running()
        try:
            for row in rows:
                if row.is_fresh:
                    row.request.mark_reused(self._pool.extend(row.slot))
            for group in plan_forwards(without_repeats(rows), self._max_chunk_tokens):
                self._read(group)
        except BaseException as error:
            for row in self._running():
                if not row.is_sound:
                    self._fail(row, _interrupted(error))
            raise
        # An interrupt leaves the events where they are: the next step hands them out.
        events, self._events = self._events, []
        return events

    def _read(self, chunks: Sequence[RowChunk], *, is_retry: bool = False) -> None:
        """One forward, then its results; smaller ones where it fails, one row twice at least."""
        try:
            outcomes = self._forward(chunks)
        except Exception as error:
            # A traceback holds the tensors of the forward, which may be what fills the memory.
            failure = error.with_traceback(None)
        else:
            self._commit(chunks, outcomes)
            return
        row, length = chunks[0].row, chunks[0].length
        if len(chunks) > 1:
            half = len(chunks) // 2
            self._read(chunks[:half])
            self._read(chunks[half:])
        elif length > 1 and is_out_of_memory(failure):
            self._read([RowChunk(row, length // 2)])
        elif not is_retry:
            self._read(chunks, is_retry=True)
        else:
            logger.error("request %d failed: %s", row.request.id, failure)
            self._fail(row, failure)

    def _forward(self, chunks: Sequence[RowChunk]) -> list[tuple[Row, _Outcome]]:
        """What follows for each row that is read to its end. No request changes."""
        self._pool.reserve(max(chunk.row.slot.length + chunk.length for chunk in chunks))
        if chunks[0].length == 1:
            self._pool.move_to_front([chunk.row.slot for chunk in chunks])
        ordered = sorted(chunks, key=lambda chunk: chunk.row.slot.index)
        whole = [at for at, chunk in enumerate(ordered) if chunk.is_whole]
        inputs = [
            Chunk(
                chunk.row.slot.index,
                chunk.row.slot.length,
                chunk.row.request.unread[: chunk.length],
            )
            for chunk in ordered
        ]
        return self._decide(self._network.read(inputs, whole), [ordered[at].row for at in whole])

    def _commit(self, chunks: Sequence[RowChunk], outcomes: Sequence[tuple[Row, _Outcome]]) -> None:
        width = max(chunk.length for chunk in chunks)
        for chunk in chunks:
            chunk.row.request.mark_forwarded(chunk.length, padded=width - chunk.length)
            chunk.row.slot.length += chunk.length
            self.forwarded += chunk.length
        for row, outcome in outcomes:
            self._report(row, outcome)

    def _decide(self, output: HeadOutput, rows: Sequence[Row]) -> list[tuple[Row, _Outcome]]:
        asking = [at for at, row in enumerate(rows) if row.request.reads_query]
        writing = [at for at, row in enumerate(rows) if not row.request.reads_query]
        outcomes: list[tuple[Row, _Outcome]] = []
        if asking:
            embeddings: list[list[float]] = normalise(output.hidden[asking]).tolist()
            outcomes += [
                (rows[at], array("f", embedding) if all(map(isfinite, embedding)) else None)
                for at, embedding in zip(asking, embeddings, strict=True)
            ]
        if writing:
            logits = output.logits[writing] if asking else output.logits
            choices = [
                Choice(row.sampler, row.request.ids, row.request.masked)
                for row in (rows[at] for at in writing)
            ]
            counts = [rows[at].request.sampling.logprobs for at in writing]
            sampled = with_logprobs(logits, self.sampler(logits, choices), counts)
            outcomes += [(rows[at], token) for at, token in zip(writing, sampled, strict=True)]
        return outcomes

    def _report(self, row: Row, outcome: _Outcome) -> None:
        request = row.request
        if outcome is None:
            error = _no_token(self._network.dtype, row.sampler.constraint is not None)
            logger.error("request %d failed: %s", request.id, error)
            self._fail(row, error)
            return
        if isinstance(outcome, array):
            self._events += request.receive_query(outcome)
        else:
            row.sampler.accept(outcome.token_id)
            self._events += request.receive_token(
                outcome.token_id, outcome.logprob, outcome.top_logprobs
            )
        if request.state is State.FINISHED:
            self._release(row)

    def _fail(self, row: Row, error: Exception) -> None:
        self._events.append(row.request.fail(error))
        self._release(row, keep=False)

    def _running(self) -> list[Row]:
        return [row for row in self._rows.values() if row.request.state is State.RUNNING]

    def _row(self, request_id: int) -> Row:
        if request_id not in self._rows:
            raise ProtocolError(
                f"request {request_id} is not here; expected one that was added and has not "
                "finished; look at its events"
            )
        return self._rows[request_id]

    def _release(self, row: Row, *, keep: bool = True) -> None:
        del self._rows[row.request.id]
        self._pool.release(row.slot, keep=keep)


def _interrupted(error: BaseException) -> EngineError:
    return EngineError(
        f"{type(error).__name__} came between a forward and its results; expected both; submit the "
        "request again"
    )


def _no_token(dtype: torch.dtype, has_grammar: bool) -> EngineError:
    """Why a row has neither a token nor a query embedding."""
    if has_grammar:
        return EngineError(
            "No token can be written next under the grammar; expected one at each position; "
            "simplify the grammar or schema, or leave out what the tokenizer cannot write"
        )
    name = str(dtype).removeprefix("torch.")
    overflows = dtype is torch.float16
    cause = "float16 overflows in many models" if overflows else "the weights may be damaged"
    return EngineError(
        f"The network computed numbers that are not finite in {name}; expected finite ones; "
        f"{cause}: load the model in another dtype, or fetch its weights again"
    )
