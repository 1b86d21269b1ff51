"""The events of one question as they happen, for threads and for event loops."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress

from onegen_model.events import Event
from onegen_model.generation.driver import Driver
from onegen_model.generation.handle import RequestHandle
from onegen_model.transcript.answer import Answer


class AnswerStream(Iterator[Event]):
    """Events of one question. A context manager: leaving it cancels what has not finished."""

    def __init__(self, driver: Driver, handle: RequestHandle) -> None:
        self.handle = handle
        self._driver = driver
        self._events: Generator[Event, None, None] = driver.drive(handle)

    @property
    def answer(self) -> Answer:
        """The whole answer; raises ValueError before the request has finished."""
        return self.handle.answer()

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Cancel what has not finished."""
        # First of all: a generator that was never started runs no cleanup of its own.
        self._driver.cancel(self.handle)
        with suppress(ValueError):  # Another thread is in it, and comes to the last event.
            self._events.close()

    def __enter__(self) -> "AnswerStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncAnswerStream(AsyncIterator[Event]):
    """Events of one question, for `async for`; submitted when the first event is asked for.

    An async context manager: leaving it cancels what has not finished.
    """

    def __init__(self, submit: Callable[[], Awaitable[tuple[Driver, RequestHandle]]]) -> None:
        self._submit = submit
        self._driver: Driver | None = None
        self._handle: RequestHandle | None = None
        self._events: AsyncGenerator[Event, None] | None = None
        self._is_closed = False

    @property
    def handle(self) -> RequestHandle:
        """The request; raises ValueError before the first event was asked for."""
        if self._handle is None:
            raise ValueError("the stream has not begun; expected a first event; iterate over it")
        return self._handle

    @property
    def answer(self) -> Answer:
        """The whole answer; raises ValueError before the request has finished."""
        return self.handle.answer()

    async def __anext__(self) -> Event:
        if self._is_closed:
            raise StopAsyncIteration
        if self._events is None:
            self._driver, self._handle = await self._submit()
            self._events = self._driver.adrive(self._handle)
        return await anext(self._events)

    async def aclose(self) -> None:
        """Cancel what has not finished."""
        self._is_closed = True
        if self._events is not None and self._driver is not None:
            await self._events.aclose()
            self._driver.cancel(self.handle)

    async def __aenter__(self) -> "AsyncAnswerStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
