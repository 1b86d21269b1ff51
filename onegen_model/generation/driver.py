"""Brings requests, engine and retrievers together, for any number of threads and tasks."""

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count

from onegen_model.engine.base import Engine, StepEngine
from onegen_model.errors import EngineError, InvalidInputError, ProtocolError, QueueFullError
from onegen_model.events import Event, Finished
from onegen_model.generation.delivery import Batch, Delivery
from onegen_model.generation.handle import RequestHandle
from onegen_model.generation.retrievals import Retrievals
from onegen_model.generation.scheduler import MAX_QUEUE, Scheduler
from onegen_model.generation.stream import Consumer, EventStream
from onegen_model.inputs import ControlIds, Prompt
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.request import Request
from onegen_model.retrieval.protocol import AnyRetriever, is_retrieving, require_retriever
from onegen_model.transcript.answer import Span
from onegen_model.transcript.renderer import Renderer

_drivers: "weakref.WeakSet[Driver]" = weakref.WeakSet()


def control_ids(renderer: Renderer) -> ControlIds:
    """What the tokens of a renderer mean to a request."""
    roles = renderer.roles
    return ControlIds(roles.query, roles.end, roles.masked, renderer.empty_frame)


class Driver:
    """One per engine. All methods may be called from any thread.

    At most `max_queue` requests wait for a slot of a `StepEngine`.
    """

    def __init__(
        self,
        engine: Engine | StepEngine,
        renderer: Renderer,
        *,
        max_queue: int = MAX_QUEUE,
    ) -> None:
        self._control = control_ids(renderer)
        self._engine: Engine = (
            Scheduler(engine, max_queue=max_queue) if isinstance(engine, StepEngine) else engine
        )
        self._delivery = Delivery(self._engine)
        self._retrievals = Retrievals(self._delivery, renderer)
        self._renderer = renderer
        self._request_ids = count()
        # By id: a WeakSet may not grow in one thread while another one reads it.
        self._streams: weakref.WeakValueDictionary[int, EventStream] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: Exception | None = None
        _drivers.add(self)

    @property
    def max_context(self) -> int:
        """Longest sequence of one request, in tokens."""
        return self._engine.max_context

    @property
    def num_running(self) -> int:
        """Requests that hold a slot, those that await passages included."""
        return self._engine.num_running

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._engine.num_waiting

    def submit(
        self,
        prompt: Prompt,
        retriever: AnyRetriever | None = None,
        sampling: SamplingParams = SamplingParams(),  # noqa: B008 (frozen)
        retrieval: RetrievalParams = RetrievalParams(),  # noqa: B008 (frozen)
        opening: Sequence[Span] = (Span(),),
    ) -> RequestHandle:
        """Queue a request; it advances as soon as any request is driven.

        `prompt.question` is the query text of a retrieval before which nothing was written.
        `opening` is the text of the unfinished answer at the end of the prompt, cut where passages
        were inserted. Raises QueueFullError; see `wait_for_room`.
        """
        if self._closed is not None:
            raise self._closed
        self._require_ids(prompt.ids)
        if retriever is not None:
            require_retriever(retriever, window=retrieval.window)
        elif retrieval.mode == "always":
            raise InvalidInputError(
                'Retrieval "always" without a retriever; expected one; attach a retriever, or '
                'choose mode "auto"'
            )
        else:
            retrieval = replace(retrieval, mode="never")
        if retrieval.mode == "always":
            prompt = replace(prompt, forced=(*prompt.forced, *self._renderer.forced_query))
        prompt = replace(prompt, is_nested=is_retrieving())
        request = Request(
            next(self._request_ids),
            prompt,
            self._control,
            max_context=self.max_context,
            sampling=sampling,
            retrieval=retrieval,
        )
        stream = self._open_stream(request, retriever, opening)
        handle = RequestHandle(stream, self._renderer, tuple(opening))
        weakref.finalize(handle, self._delivery.end, [stream]).atexit = False
        self._engine.submit(request, partial(self._delivery.take, stream))
        self._streams[request.id] = stream
        if self._closed is not None:  # It was closed meanwhile, and may not know this request.
            self._delivery.end([stream], "failed", self._closed)
            raise self._closed
        return handle

    def _open_stream(
        self, request: Request, retriever: AnyRetriever | None, opening: Sequence[Span]
    ) -> EventStream:
        ids: tuple[int, ...] = ()
        frame_state, retrieval = self._renderer.template.frame_state, request.retrieval
        has_answer = any(frame_state(span.text) != "none" for span in opening)
        if retrieval.mode != "never" and retrieval.not_found is not None and not has_answer:
            ids = self._renderer.answer_ids(retrieval.not_found)
        return EventStream(request, retriever, self._renderer, ids)

    def _require_ids(self, ids: Sequence[int]) -> None:
        size = self._engine.vocabulary_size
        wrong = next((at for at, one in enumerate(ids) if not 0 <= one < size), None)
        if wrong is not None:
            raise InvalidInputError(
                f"Token id {ids[wrong]} at position {wrong} of the prompt; expected ids below "
                f"{size}; send a history back as it was, with the model that wrote it"
            )

    def wait_for_room(self) -> None:
        """Return when `submit` has room; meanwhile the caller's thread works for all requests."""
        while not self._engine.has_room:
            found = self._delivery.wait((), lambda: self._engine.has_room)
            if isinstance(found, list):
                self._retrievals.make(found)

    async def await_room(self) -> None:
        """Like `wait_for_room`, without blocking the event loop."""
        while not self._engine.has_room:
            found = await self._delivery.await_((), lambda: self._engine.has_room)
            if isinstance(found, list):
                await self._retrievals.amake(found)

    def when_room(self, submit: Callable[[], RequestHandle]) -> RequestHandle:
        """The result of `submit`, called when there is room, and again if others were faster."""
        while not is_retrieving():
            self.wait_for_room()
            with suppress(QueueFullError):
                return submit()
        return submit()

    async def awhen_room(self, submit: Callable[[], RequestHandle]) -> RequestHandle:
        """Like `when_room`; `submit` is called in a thread, because it tokenises the prompt."""
        while not is_retrieving():
            await self.await_room()
            with suppress(QueueFullError):
                return await asyncio.to_thread(submit)
        return await asyncio.to_thread(submit)

    def cancel(self, handle: RequestHandle) -> None:
        """End a request from anywhere; its consumer sees Finished("cancelled")."""
        self._delivery.end([handle.stream])

    def close(self, error: Exception) -> None:
        """End all requests with `error`, and raise it from `submit` from now on."""
        self._closed = error
        streams = [ref() for ref in self._streams.valuerefs()]
        self._delivery.end([stream for stream in streams if stream], "failed", error)

    def abandon(self, error: Exception) -> None:
        """`close` for a forked child, which has the parent's locks but not its threads."""
        self._closed = error
        self._delivery.abandon()
        self._engine.abandon(error)

    def drive(self, *handles: RequestHandle) -> Generator[Event, None, None]:
        """Events of all `handles` until each has finished; closing it cancels what has not.

        What made a request fail is raised at the end, after its Finished event.
        """
        for handle in handles:
            if handle.stream.retriever is not None:
                require_retriever(handle.stream.retriever, in_threads=True)
        return self._drive(handles, _open(handles, "thread"))

    def adrive(self, *handles: RequestHandle) -> AsyncGenerator[Event, None]:
        """Like `drive`, without ever blocking the event loop."""
        return self._adrive(handles, _open(handles, "task"))

    # `handles` are passed along because a handle that is let go cancels its request.

    def _drive(
        self, handles: Sequence[RequestHandle], streams: Sequence[EventStream]
    ) -> Generator[Event, None, None]:
        num_open = len(handles)
        try:
            while num_open:
                found = self._delivery.wait(streams)
                if isinstance(found, list):
                    self._retrievals.make(found)
                elif found is not None:
                    num_open -= isinstance(found, Finished)
                    yield found
        finally:
            self._delivery.end(streams)
        _raise_first_error(streams)

    async def _adrive(
        self, handles: Sequence[RequestHandle], streams: Sequence[EventStream]
    ) -> AsyncGenerator[Event, None]:
        num_open = len(handles)
        asked: dict[asyncio.Task[None], Batch] = {}
        try:
            while num_open:
                found = await self._delivery.await_(streams)
                if isinstance(found, list):
                    # A task of its own, so that cancelling this one spares its neighbours.
                    task = asyncio.create_task(self._retrievals.amake(found))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    asked[task] = found
                    task.add_done_callback(asked.pop)
                elif found is not None:
                    num_open -= isinstance(found, Finished)
                    yield found
        finally:
            self._delivery.end(streams)
            for task, batch in asked.items():
                if not any(stream.awaits_answer for stream in batch):
                    task.cancel()
        _raise_first_error(streams)


def _open(handles: Sequence[RequestHandle], consumer: Consumer) -> list[EventStream]:
    streams = [handle.stream for handle in handles]
    if any(stream.consumer for stream in streams) or len(set(streams)) < len(streams):
        raise ProtocolError("A request is driven twice; expected one consumer; submit it again")
    for stream in streams:
        stream.consumer = consumer
    return streams


def _raise_first_error(streams: Sequence[EventStream]) -> None:
    for stream in streams:
        if stream.request.error is not None:
            raise stream.request.error


def _abandon_all() -> None:
    error = EngineError(
        "The process was forked while this request was open; expected it to be answered where it "
        "was asked; ask again in this process"
    )
    for driver in list(_drivers):
        driver.abandon(error)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
