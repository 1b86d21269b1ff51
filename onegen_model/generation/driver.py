"""Brings requests, engine and retrievers together, for any number of threads and tasks."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from onegen_model.engine.base import Engine
from onegen_model.errors import InvalidInputError, OneGenError, ProtocolError, RetrievalError
from onegen_model.events import Event, Finished, Query
from onegen_model.generation.scheduler import Batch, Scheduler
from onegen_model.generation.stream import Consumer, EventStream
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import Candidate, ControlIds, Request
from onegen_model.retrieval.protocol import (
    AnyRetriever,
    AsyncRetriever,
    Retriever,
    check_answers,
    require_retriever,
    select_passages,
)
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.tool_calls import TAGS


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class RequestHandle:
    """A submitted request. Letting go of it before it has finished cancels the request."""

    stream: EventStream

    @property
    def request(self) -> Request:
        """Ids, usage and state; settled once the request has finished."""
        return self.stream.request


def control_ids(renderer: Renderer, end_ids: Collection[int] = ()) -> ControlIds:
    """What a renderer's tokens mean to a request; `end_ids` end it too."""
    end = frozenset({renderer.end_id, *end_ids})
    may_write = {renderer.query_id} | renderer.reflection_ids | _tag_ids(renderer)
    masked = renderer.control_ids - end - may_write
    return ControlIds(renderer.query_id, end, masked, renderer.empty_frame)


def _tag_ids(renderer: Renderer) -> frozenset[int]:
    """Added tokens that are text: the model writes them and they are shown."""
    added = renderer.tokenizer.added_tokens_decoder.items()
    return frozenset(token_id for token_id, token in added if token.content in TAGS)


class Driver:
    """One per engine. All methods may be called from any thread."""

    def __init__(self, engine: Engine, renderer: Renderer, end_ids: Collection[int] = ()) -> None:
        self._control = control_ids(renderer, end_ids)
        self._hidden = renderer.control_ids - _tag_ids(renderer) | self._control.end
        self._max_context = engine.max_context
        self._engine = Scheduler(engine)
        self._renderer = renderer
        self._request_ids = count()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def max_context(self) -> int:
        """Longest sequence of one request, in tokens."""
        return self._max_context

    def submit(
        self,
        prompt: Sequence[int],
        question: str,
        retriever: AnyRetriever | None = None,
        sampling: SamplingParams = SamplingParams(),  # noqa: B008 (frozen)
        retrieval: RetrievalParams = RetrievalParams(),  # noqa: B008 (frozen)
    ) -> RequestHandle:
        """Queue a request; it moves as soon as anybody drives.

        `question` is the query text of a retrieval before which nothing was written.
        """
        if retriever is not None:
            require_retriever(retriever)
        elif retrieval.mode == "always":
            raise InvalidInputError(
                'Retrieval "always" without a retriever; expected one; attach a retriever, or '
                'choose mode "auto"'
            )
        else:
            retrieval = replace(retrieval, mode="never")
        request = Request(
            next(self._request_ids),
            prompt,
            self._control,
            max_context=self._max_context,
            sampling=sampling,
            retrieval=retrieval,
        )
        stream = EventStream(request, question, retriever, self._renderer.tokenizer, self._hidden)
        self._engine.admit(stream)
        ticket = RequestHandle(stream)
        weakref.finalize(ticket, self._engine.cancel, [stream]).atexit = False
        return ticket

    def cancel(self, ticket: RequestHandle) -> None:
        """End a request from anywhere; its consumer sees Finished("cancelled")."""
        self._engine.cancel([ticket.stream])

    def drive(self, *tickets: RequestHandle) -> Generator[Event, None, None]:
        """Events of all `tickets` until each has finished; closing it cancels what has not.

        What made a request fail is raised at the end, after its Finished event.
        """
        for ticket in tickets:
            if ticket.stream.retriever is not None:
                require_retriever(ticket.stream.retriever, in_threads=True)
        return self._drive(tickets, _open(tickets, "thread"))

    def adrive(self, *tickets: RequestHandle) -> AsyncGenerator[Event, None]:
        """Like `drive`, without ever blocking the event loop."""
        return self._adrive(tickets, _open(tickets, "task"))

    # `tickets` are passed along because a ticket that is let go cancels its request.

    def _drive(
        self, tickets: Sequence[RequestHandle], streams: Sequence[EventStream]
    ) -> Generator[Event, None, None]:
        num_open = len(tickets)
        try:
            while num_open:
                found = self._engine.wait(streams)
                if isinstance(found, list):
                    self._ask(found)
                else:
                    num_open -= isinstance(found, Finished)
                    yield found
        finally:
            self._engine.cancel(streams)
        _raise_first_error(streams)

    async def _adrive(
        self, tickets: Sequence[RequestHandle], streams: Sequence[EventStream]
    ) -> AsyncGenerator[Event, None]:
        num_open = len(tickets)
        asked: dict[asyncio.Task[None], Batch] = {}
        try:
            while num_open:
                found = await self._engine.await_(streams)
                if isinstance(found, list):
                    # A task of its own, so that cancelling this one spares its neighbours.
                    task = asyncio.create_task(self._aask(found))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    asked[task] = found
                    task.add_done_callback(asked.pop)
                else:
                    num_open -= isinstance(found, Finished)
                    yield found
        finally:
            self._engine.cancel(streams)
            for task, batch in asked.items():
                if not any(stream.awaits_answer for stream in batch):
                    task.cancel()
        _raise_first_error(streams)

    def _ask(self, batch: Batch) -> None:
        try:
            self._attempt(batch)
        finally:
            self._engine.put_back(batch)

    async def _aask(self, batch: Batch) -> None:
        try:
            await self._aattempt(batch)
        finally:
            self._engine.put_back(batch)

    def _attempt(self, batch: Batch) -> None:
        retriever, queries = _call(batch)
        assert isinstance(retriever, Retriever)  # `drive` made sure.
        try:
            answers = check_answers(retriever.retrieve(queries), queries, retriever)
        except Exception as error:
            for alone in self._blame(batch, queries, error):
                self._attempt(alone)
        else:
            self._accept(batch, queries, answers)

    async def _aattempt(self, batch: Batch) -> None:
        retriever, queries = _call(batch)
        if not isinstance(retriever, AsyncRetriever):
            return await asyncio.to_thread(self._attempt, batch)
        try:
            answers = check_answers(await retriever.aretrieve(queries), queries, retriever)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            for alone in self._blame(batch, queries, error):
                await self._aattempt(alone)
        else:
            # Tokenising passages takes too long for an event loop.
            await asyncio.to_thread(self._accept, batch, queries, answers)

    def _blame(self, batch: Batch, queries: Sequence[Query], error: BaseException) -> list[Batch]:
        """Fail a request that was asked for alone; tell which to ask for alone otherwise."""
        if len(batch) > 1:
            return [[stream] for stream in batch]
        if not isinstance(error, OneGenError):
            cause = error
            error = RetrievalError(
                f"{type(batch[0].retriever).__name__} raised {type(cause).__name__}: {cause}; "
                "expected passages; see the cause"
            )
            error.__cause__ = cause
        self._engine.fail(batch[0], queries[0], error)
        return []

    def _accept(self, batch: Batch, queries: Sequence[Query], answers: Sequence[object]) -> None:
        for stream, query, answer in zip(batch, queries, answers, strict=True):
            try:
                hits = select_passages(answer, query, stream.retriever)
                candidates = [Candidate(hit, self._renderer.frame_ids(hit.passage)) for hit in hits]
            except Exception as error:
                self._engine.fail(stream, query, error)
            else:
                self._engine.insert(stream, query, candidates)


def _open(tickets: Sequence[RequestHandle], consumer: Consumer) -> list[EventStream]:
    streams = [ticket.stream for ticket in tickets]
    if any(stream.consumer for stream in streams) or len(set(streams)) < len(streams):
        raise ProtocolError("A ticket is driven twice; expected one consumer; submit it again")
    for stream in streams:
        stream.consumer = consumer
    return streams


def _call(batch: Batch) -> tuple[AnyRetriever | None, list[Query]]:
    return batch[0].retriever, [stream.query for stream in batch if stream.query is not None]


def _raise_first_error(streams: Sequence[EventStream]) -> None:
    for stream in streams:
        if stream.error is not None:
            raise stream.error
