"""Mentions of one text as they are closed, for threads and for event loops."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from onegen_model.linking.job import Job
from onegen_model.linking.mentions import LinkedText, Mention
from onegen_model.linking.search import Search, aretrieve, linked, search
from onegen_model.locks import ProcessLock
from onegen_model.places import place_of
from onegen_model.retrieval.protocol import AnyRetriever, AsyncRetriever, Retriever

T = TypeVar("T")


def run(job: Job, entities: AnyRetriever) -> list[LinkedText]:
    """The texts of a job, searched on the caller's thread."""
    with _Steps(job, entities) as steps:
        while steps.advance() is not None:
            pass
        return steps.linked


async def arun(job: Job, entities: AnyRetriever) -> list[LinkedText]:
    """Like `run`, without blocking the event loop."""
    with _AsyncSteps(job, entities) as steps:
        while await steps.aadvance() is not None:
            pass
        return steps.linked


class MentionStream(Iterator[Mention]):
    """Mentions of one text, in order; several threads may share them. A context manager: leaving it
    ends the work."""

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        self._steps = _Steps(job, entities)
        self._ready: list[Mention] = []
        self._turn = ProcessLock()

    @property
    def linked(self) -> LinkedText:
        """The whole result; raises ValueError before the last mention was taken, and after a
        failure."""
        return self._steps.linked[0]

    def __next__(self) -> Mention:
        with self._turn:
            while not self._ready:
                if (found := self._steps.advance()) is None:
                    raise StopIteration
                self._ready += found
            return self._ready.pop(0)

    def close(self) -> None:
        """End the work."""
        self._ready.clear()
        self._steps.close()

    def __enter__(self) -> "MentionStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncMentionStream(AsyncIterator[Mention]):
    """Like `MentionStream`, for `async for` in the tasks of one event loop."""

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        self._steps = _AsyncSteps(job, entities)
        self._ready: list[Mention] = []
        self._turn = asyncio.Lock()

    @property
    def linked(self) -> LinkedText:
        """The whole result; raises ValueError before the last mention was taken, and after a
        failure."""
        return self._steps.linked[0]

    async def __anext__(self) -> Mention:
        async with self._turn:
            while not self._ready:
                if (found := await self._steps.aadvance()) is None:
                    raise StopAsyncIteration
                self._ready += found
            return self._ready.pop(0)

    async def aclose(self) -> None:
        """End the work."""
        self._ready.clear()
        self._steps.close()

    async def __aenter__(self) -> "AsyncMentionStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Steps:
    """A job and the searches that it asks for. After a failure, or once closed, it is over."""

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        self._job = job
        self._entities = entities
        self._found: Sequence[Mention] | None = None
        self._linked: list[LinkedText] | None = None
        self._is_closed = False

    @property
    def linked(self) -> list[LinkedText]:
        """The result of the job."""
        if self._linked is None:
            raise ValueError(
                "the text is not linked; expected a stream that came to its end; iterate over all "
                "of it, or link the text again"
            )
        return self._linked

    def advance(self) -> Sequence[Mention] | None:
        """The mentions of the next search; None at the end."""
        try:
            if (wanted := self._next()) is None:
                return None
            assert isinstance(self._entities, Retriever)  # `require_entities` has seen to it
            self._found = _seen(search(wanted, self._entities))
        except BaseException:
            self.close()
            raise
        return self._found

    def _next(self) -> Search | None:
        """Read on until something has to be searched."""
        while not self._is_closed:
            found, self._found = self._found, None
            try:
                wanted = next(self._job) if found is None else self._job.send(found)
            except StopIteration as end:
                self._linked, self._is_closed = end.value, True
                return None
            if wanted is not None:
                return wanted
        self._job.close()
        return None

    def close(self) -> None:
        """End the work; another thread that is at it ends with its forward pass."""
        self._is_closed = True
        with suppress(ValueError):
            self._job.close()

    def __enter__(self) -> "_Steps":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _seen(found: list[Mention]) -> list[Mention]:
    """The mentions; warns once of entities that are pieces of documents."""
    places = (place_of(one.entity.passage) for one in found if one.entity)
    if any(place and place.chunks > 1 for place in places):
        warnings.warn(
            "Mentions are linked to pieces of documents; expected entities, each of which is one "
            "passage; build an index with PassageIndex.build(model, entities) or `onegen entities`",
            stacklevel=2,
        )
    return found


class _AsyncSteps(_Steps):
    """Steps in a thread of their own.

    Not in one of the event loop's: those would all be taken by texts while others wait for them.
    """

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        super().__init__(job, entities)
        self._executor: ThreadPoolExecutor | None = None

    async def aadvance(self) -> Sequence[Mention] | None:
        """Like `advance`, without blocking the event loop."""
        if self._is_closed:
            return None
        try:
            if isinstance(self._entities, AsyncRetriever):
                found = await self._asearch(self._entities)
            else:
                found = await self._in_thread(self.advance)
        except BaseException:
            self.close()
            raise
        if found is None:
            self.close()
        return found

    async def _asearch(self, entities: AsyncRetriever) -> Sequence[Mention] | None:
        if (wanted := await self._in_thread(self._next)) is None:
            return None
        answers = await aretrieve(wanted, entities)
        self._found = _seen(await self._in_thread(partial(linked, wanted, entities, answers)))
        return self._found

    async def _in_thread(self, job: Callable[[], T]) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="onegen-link")
        call = partial(copy_context().run, job)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        super().close()
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "_AsyncSteps":
        return self
