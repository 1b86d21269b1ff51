"""Asks retrievers for the passages that waiting requests need."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

from onegen_model.errors import OneGenError
from onegen_model.events import Query
from onegen_model.generation.delivery import Batch, Delivery
from onegen_model.generation.empty_searches import nothing_found, nothing_new
from onegen_model.generation.hit_renderer import HitRenderer
from onegen_model.generation.stream import EventStream
from onegen_model.inputs import Candidate, EmptySearch
from onegen_model.retrieval.protocol import (
    AsyncRetriever,
    FailedSearch,
    check_answers,
    retriever_error,
    retrieving,
    select_passages,
)
from onegen_model.transcript.renderer import Renderer

T = TypeVar("T")
_Searches: TypeAlias = "Sequence[_Search]"


@dataclass(frozen=True, slots=True)
class _Search:
    """An open query of a request. `asked` is the same query, or one without what it excludes."""

    stream: EventStream
    query: Query
    asked: Query

    @property
    def is_open(self) -> bool:
        return self.stream.query is self.query

    def without_exclusion(self) -> "_Search":
        """The search that tells whether there is anything at all, in the context or not."""
        count = 1 + len(self.query.exclude)
        return replace(self, asked=replace(self.query, exclude=(), top_k=count))


class Retrievals:
    """Answers the queries of a batch: one call of their retriever, each request on its own after
    a failure, so that only the request that caused it fails.

    A query for which the retriever has nothing outside the context is asked once more without
    `exclude`, see `empty_searches`.
    """

    def __init__(self, delivery: Delivery, renderer: Renderer) -> None:
        self._delivery = delivery
        self._renderer = renderer
        # Not the executor of a loop: requests that wait in its threads may hold all of them.
        self._executor = ThreadPoolExecutor(thread_name_prefix="onegen-retrieve")

    def make(self, batch: Batch) -> None:
        """Ask on the caller's thread. An interrupt leaves what has no answer to others."""
        try:
            self._attempt(_searches(batch))
        finally:
            self._delivery.put_back(batch)

    async def amake(self, batch: Batch) -> None:
        """Like `make`, without blocking the event loop."""
        try:
            await self._aattempt(_searches(batch))
        finally:
            self._delivery.put_back(batch)

    def _attempt(self, searches: _Searches) -> None:
        if not (searches := [one for one in searches if one.is_open]):
            return
        retriever, queries = searches[0].stream.retriever, [one.asked for one in searches]
        try:
            # An async retriever never comes here: `Driver.drive` refuses it.
            with retrieving():
                found = retriever.retrieve(queries)  # type: ignore[union-attr]
            answers = check_answers(found, queries, retriever)
        except Exception as error:
            for alone in self._blame(searches, error):
                self._attempt(alone)
        else:
            self._attempt(self._accept(searches, answers))

    async def _aattempt(self, searches: _Searches) -> None:
        if not (searches := [one for one in searches if one.is_open]):
            return
        retriever, queries = searches[0].stream.retriever, [one.asked for one in searches]
        if not isinstance(retriever, AsyncRetriever):
            await self._in_thread(self._attempt, searches)
            return
        try:
            with retrieving():
                found = await retriever.aretrieve(queries)
            answers = check_answers(found, queries, retriever)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            for alone in self._blame(searches, error):
                await self._aattempt(alone)
        else:
            # Tokenising passages takes too long for an event loop.
            await self._aattempt(await self._in_thread(self._accept, searches, answers))

    async def _in_thread(self, job: Callable[..., T], *arguments: object) -> T:
        call = partial(copy_context().run, job, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _blame(self, searches: _Searches, error: BaseException) -> list[_Searches]:
        """Fail a request that was asked for alone; return those to ask for alone otherwise."""
        if len(searches) > 1:
            return [[one] for one in searches]
        (search,) = searches
        if not isinstance(error, OneGenError):
            cause = error
            error = retriever_error(search.stream.retriever, cause)
            error.__cause__ = cause
        self._delivery.fail(search.stream, search.query, error)
        return []

    def _accept(self, searches: _Searches, answers: Sequence[object]) -> list[_Search]:
        """Answer the queries; returns those to ask again without what they exclude."""
        again: list[_Search] = []
        for search, answer in zip(searches, answers, strict=True):
            try:
                outcome = self._outcome(search, answer)
            except Exception as error:
                self._delivery.fail(search.stream, search.query, error)
            else:
                if outcome is None:
                    again.append(search.without_exclusion())
                else:
                    self._delivery.insert(search.stream, search.query, *outcome)
        return again

    def _outcome(
        self, search: _Search, answer: object
    ) -> tuple[Sequence[Candidate], EmptySearch | None] | None:
        """What is inserted for a query; None if it has to be asked again."""
        stream, query = search.stream, search.query
        least = stream.request.retrieval.min_score
        if hits := select_passages(answer, query, stream.retriever, least):
            room = stream.request.max_context - len(stream.request.ids)
            reader = HitRenderer(self._renderer, stream.request.retrieval, room)
            return reader.candidates(hits, query, stream.retriever), None
        if select_passages(answer, replace(query, exclude=()), stream.retriever, least):
            return (), nothing_new(stream, query)
        if search.asked.exclude and not isinstance(answer, FailedSearch):
            return None
        return (), nothing_found(stream, query, answer)


def _searches(batch: Batch) -> list[_Search]:
    """The open queries of a batch; one that was put back may have been answered meanwhile."""
    open_queries = ((stream, stream.query) for stream in batch)
    return [_Search(stream, query, query) for stream, query in open_queries if query is not None]
