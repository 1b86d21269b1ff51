"""Asks retrievers for the passages that waiting requests need."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from onegen_model.errors import InvalidInputError, OneGenError, RetrievalError
from onegen_model.events import Query, ScoredPassage
from onegen_model.generation.delivery import Batch, Delivery
from onegen_model.generation.stream import EventStream
from onegen_model.inputs import Candidate
from onegen_model.retrieval.protocol import (
    AsyncRetriever,
    check_answers,
    retrieving,
    select_passages,
)
from onegen_model.transcript.passage_fit import fit_passage
from onegen_model.transcript.renderer import Renderer

_Asked: TypeAlias = dict[EventStream, Query]


class Retrievals:
    """Answers the queries of a batch: one call of their retriever, each request on its own after
    a failure, so that only the request that caused it fails.
    """

    def __init__(self, delivery: Delivery, renderer: Renderer) -> None:
        self._delivery = delivery
        self._renderer = renderer
        # Not the executor of a loop: requests that wait in its threads may hold all of them.
        self._executor = ThreadPoolExecutor(thread_name_prefix="onegen-retrieve")

    def make(self, batch: Batch) -> None:
        """Ask on the caller's thread. An interrupt leaves what has no answer to others."""
        try:
            self._attempt(batch)
        finally:
            self._delivery.put_back(batch)

    async def amake(self, batch: Batch) -> None:
        """Like `make`, without blocking the event loop."""
        try:
            await self._aattempt(batch)
        finally:
            self._delivery.put_back(batch)

    def _attempt(self, batch: Batch) -> None:
        if not (asked := _pairs(batch)):
            return
        retriever, queries = batch[0].retriever, list(asked.values())
        try:
            # An async retriever never comes here: `Driver.drive` refuses it.
            with retrieving():
                found = retriever.retrieve(queries)  # type: ignore[union-attr]
            answers = check_answers(found, queries, retriever)
        except Exception as error:
            for alone in self._blame(asked, error):
                self._attempt(alone)
        else:
            self._accept(asked, answers)

    async def _aattempt(self, batch: Batch) -> None:
        retriever = batch[0].retriever
        if not isinstance(retriever, AsyncRetriever):
            return await self._in_thread(self._attempt, batch)
        if not (asked := _pairs(batch)):
            return
        queries = list(asked.values())
        try:
            with retrieving():
                found = await retriever.aretrieve(queries)
            answers = check_answers(found, queries, retriever)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            for alone in self._blame(asked, error):
                await self._aattempt(alone)
        else:
            # Tokenising passages takes too long for an event loop.
            await self._in_thread(self._accept, asked, answers)

    async def _in_thread(self, job: Callable[..., None], *arguments: object) -> None:
        call = partial(copy_context().run, job, *arguments)
        await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _blame(self, asked: _Asked, error: BaseException) -> list[Batch]:
        """Fail a request that was asked for alone; return those to ask for alone otherwise."""
        if len(asked) > 1:
            return [[stream] for stream in asked]
        ((stream, query),) = asked.items()
        if not isinstance(error, OneGenError):
            cause = error
            error = RetrievalError(
                f"{type(stream.retriever).__name__} raised {type(cause).__name__}: {cause}; "
                "expected passages; see the cause"
            )
            error.__cause__ = cause
        self._delivery.fail(stream, query, error)
        return []

    def _accept(self, asked: _Asked, answers: Sequence[object]) -> None:
        for (stream, query), answer in zip(asked.items(), answers, strict=True):
            try:
                hits = select_passages(answer, query, stream.retriever)
                candidates = to_candidates(hits, self._renderer)
            except Exception as error:
                self._delivery.fail(stream, query, error)
            else:
                self._delivery.insert(stream, query, candidates)


def to_candidates(hits: Sequence[ScoredPassage], renderer: Renderer) -> list[Candidate]:
    """The hits with their ids. Empty ones are left out, and long ones are cut, with a warning.

    Raises InvalidInputError, which names the passage, when hits were found and all of them are
    empty.
    """
    usable = [hit for hit in hits if hit.passage.text.strip()]
    if hits and not usable:
        raise InvalidInputError(
            f"Passage {hits[0].passage.id!r} is empty, and so is all else that was found; expected "
            "some text; remove empty documents from the store"
        )
    return [_to_candidate(hit, renderer) for hit in usable]


def _to_candidate(hit: ScoredPassage, renderer: Renderer) -> Candidate:
    fitting = fit_passage(hit.passage, renderer)
    if fitting is not hit.passage:
        hit = replace(hit, passage=fitting)
    return Candidate(hit, renderer.frame_ids(fitting))


def _pairs(batch: Batch) -> _Asked:
    """The open queries of a batch; one that was put back may have been answered meanwhile."""
    open_queries = ((stream, stream.query) for stream in batch)
    return {stream: query for stream, query in open_queries if query is not None}
