"""Mentions of one text as they are closed, for threads and for event loops."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from onegen_model.linking.job import Job
from onegen_model.linking.mentions import LinkedText, Mention
from onegen_model.linking.search import Search, asearch, search
from onegen_model.retrieval.protocol import AnyRetriever, AsyncRetriever


def run(job: Job, entities: AnyRetriever) -> list[LinkedText]:
    """The texts of a job, searched on the caller's thread."""
    steps = _Steps(job)
    while (wanted := steps.next()) is not None:
        steps.found = search(wanted, entities)
    return steps.linked


async def arun(job: Job, entities: AnyRetriever) -> list[LinkedText]:
    """Like `run`, without blocking the event loop."""
    steps = _Steps(job)
    while (wanted := await asyncio.to_thread(steps.next)) is not None:
        steps.found = await _asearch(wanted, entities)
    return steps.linked


class MentionStream(Iterator[Mention]):
    """Mentions of one text, in order. A context manager: leaving it ends the work."""

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        self._steps = _Steps(job)
        self._entities = entities
        self._ready: list[Mention] = []

    @property
    def linked(self) -> LinkedText:
        """The whole result; raises ValueError before the last mention was taken."""
        return self._steps.one

    def __next__(self) -> Mention:
        while not self._ready:
            if (wanted := self._steps.next()) is None:
                raise StopIteration
            self._steps.found = search(wanted, self._entities)
            self._ready += self._steps.found
        return self._ready.pop(0)

    def close(self) -> None:
        """End the work."""
        self._steps.close()

    def __enter__(self) -> "MentionStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncMentionStream(AsyncIterator[Mention]):
    """Like `MentionStream`, for `async for`."""

    def __init__(self, job: Job, entities: AnyRetriever) -> None:
        self._steps = _Steps(job)
        self._entities = entities
        self._ready: list[Mention] = []

    @property
    def linked(self) -> LinkedText:
        """The whole result; raises ValueError before the last mention was taken."""
        return self._steps.one

    async def __anext__(self) -> Mention:
        while not self._ready:
            if (wanted := await asyncio.to_thread(self._steps.next)) is None:
                raise StopAsyncIteration
            self._steps.found = await _asearch(wanted, self._entities)
            self._ready += self._steps.found
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """End the work."""
        self._steps.close()

    async def __aenter__(self) -> "AsyncMentionStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Steps:
    """A job between its searches; `found` are the mentions of the last search."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._is_begun = False
        self._linked: list[LinkedText] | None = None
        self.found: Sequence[Mention] = ()

    def next(self) -> Search | None:
        """The next search; None at the end."""
        if self._linked is not None:
            return None
        try:
            if self._is_begun:
                return self._job.send(list(self.found))
            self._is_begun = True
            return next(self._job)
        except StopIteration as end:
            self._linked = end.value or []
            return None

    @property
    def linked(self) -> list[LinkedText]:
        if self._linked is None:
            raise ValueError("the text is not linked yet; expected its end; iterate to the end")
        return self._linked

    @property
    def one(self) -> LinkedText:
        return self.linked[0]

    def close(self) -> None:
        with suppress(ValueError):  # Another thread is in it, and comes to its end.
            self._job.close()


async def _asearch(wanted: Search, entities: AnyRetriever) -> list[Mention]:
    if isinstance(entities, AsyncRetriever):
        return await asearch(wanted, entities)
    return await asyncio.to_thread(search, wanted, entities)
