"""Retrievals of requests: queries of the core, which LangChain traces as runs.

Requests that search the same source share one `SourceRetriever`, so that the driver asks for all
their queries at once. Their differences (the search, callbacks, context variables, the handling of
errors) are in a `Lookup`, which is passed as the filter of their queries.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from onegen_integrations.langchain.blocks import RETRIEVE
from onegen_integrations.langchain.calls import identity_of
from onegen_integrations.langchain.embeddings import to_passage
from onegen_integrations.langchain.neighbours import fetch_neighbours, require_fetching
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.vectorstores import Hit, Search
from onegen_integrations.shared.places import own_metadata
from onegen_integrations.shared.search_adapter import RequestScope, SearchAdapter
from onegen_integrations.shared.usable_passages import usable_passages
from onegen_model import Passage, Query, ScoredPassage
from onegen_model.errors import OneGenError, RetrievalError

logger = logging.getLogger(__name__)

_MAX_THREADS = 16


class _SearchRun(BaseRetriever):
    """One search as a run of its own; `hits` keep the scores, which documents do not have."""

    search: Any
    asked: Any
    hits: list[Any] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.hits = self.search.search(self.asked, {"callbacks": run_manager.get_child()})
        return [document for document, _ in self.hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        config: RunnableConfig = {"callbacks": run_manager.get_child()}
        self.hits = await self.search.asearch(self.asked, config)
        return [document for document, _ in self.hits]


class Lookup(RequestScope):
    """The retrievals of one request, each of which is a run."""

    def __init__(
        self,
        search: Search,
        run: Run | None = None,
        *,
        filter: object = None,
        skips_errors: bool = False,
    ) -> None:
        super().__init__(filter, skips_errors=skips_errors)
        self._search = search
        self._run = run

    @property
    def retriever(self) -> "SourceRetriever":
        """The retriever that this request shares with others."""
        is_asynchronous = self._run is not None and self._run.is_asynchronous
        return _retriever_of(self._search.source, is_asynchronous)

    def look_up(self, query: Query) -> list[ScoredPassage]:
        """The passages to insert for `query`."""
        run = self._search_run(query)
        run.invoke(query.text, self._config(asynchronous=False))
        return _to_passages(run.hits)

    async def alook_up(self, query: Query) -> list[ScoredPassage]:
        """Like `look_up`, without blocking the event loop."""
        run = self._search_run(query)
        await run.ainvoke(query.text, self._config(asynchronous=True))
        return _to_passages(run.hits)

    def _search_run(self, query: Query) -> _SearchRun:
        asked = replace(query, filter=self.filter)  # type: ignore[arg-type]
        return _SearchRun(search=self._search, asked=asked)

    def _config(self, *, asynchronous: bool) -> RunnableConfig:
        if self._run is None:
            return {"run_name": RETRIEVE}
        callbacks = self._run.achild() if asynchronous else self._run.child()
        return {"run_name": RETRIEVE, "callbacks": callbacks}

    def require_neighbours(self) -> None:
        """Raise InvalidInputError where the neighbours of a document cannot be fetched."""
        require_fetching(self._search, self.filter)

    def neighbours(self, passage: Passage, window: int) -> list[Passage]:
        """See NeighbourRetriever."""
        try:
            return self.context.run(fetch_neighbours, self._search, passage, window, self.filter)
        except Exception as error:
            if not self.skips_errors:
                raise self.blame(error) from error
            logger.warning("%r is inserted without neighbours: %s", passage.id, error)
            return [passage]

    def blame(self, error: Exception) -> Exception:
        """The error that ends the request, always a OneGenError."""
        if isinstance(error, OneGenError):
            return error
        blamed = RetrievalError(
            f"{type(self._search.source).__name__} raised {type(error).__name__}: {error}; "
            "expected documents; see the cause"
        )
        blamed.__cause__ = error
        return blamed


def _to_passages(hits: Sequence[Hit]) -> list[ScoredPassage]:
    # An unknown score is 0; the core keeps the order of equal scores.
    return usable_passages(
        [ScoredPassage(_to_passage(document), score or 0.0) for document, score in hits]
    )


def _to_passage(document: Document) -> Passage:
    passage = to_passage(document)
    return replace(passage, metadata=own_metadata(passage.metadata))


class SourceRetriever(SearchAdapter):
    """Both retrievers of the core. The queries of a batch are searched at the same time."""

    def search(self, query: Query) -> list[ScoredPassage]:
        return _lookup_of(query).look_up(query)

    async def asearch(self, query: Query) -> list[ScoredPassage]:
        return await _lookup_of(query).alook_up(query)

    def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
        return _lookup_of(query).neighbours(passage, window)

    def _search_all(self, queries: Sequence[Query], scopes: Sequence[RequestScope]) -> None:
        if len(queries) == 1:
            return super()._search_all(queries, scopes)
        with ThreadPoolExecutor(min(len(queries), _MAX_THREADS)) as pool:
            list(pool.map(self._search_in, queries, scopes))


def _lookup_of(query: Query) -> Lookup:
    if isinstance(query.filter, Lookup):
        return query.filter
    raise RetrievalError(
        "A query without the Lookup of its request; expected one as its filter; pass it as "
        "`RetrievalParams.filter`"
    )


# Threads and event loops have one each: a thread would search for both, which a source that has
# only an asynchronous search refuses.
_retrievers: WeakValueDictionary[tuple[str, bool], SourceRetriever] = WeakValueDictionary()


def _retriever_of(source: object, is_asynchronous: bool) -> SourceRetriever:
    """The retriever of all requests that currently search `source`."""
    return _retrievers.setdefault((identity_of(source), is_asynchronous), SourceRetriever())
