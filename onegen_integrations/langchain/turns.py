"""Retrievals of requests: queries of the core, which LangChain traces as runs.

Requests that search the same source share one `SourceRetriever`, so that the driver asks for all
their queries at once. Their differences (the search, callbacks, the handling of errors) are in a
`Lookup`, which is passed as the filter of their queries.
"""

import contextvars
from collections.abc import Iterator, Mapping, Sequence
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
from onegen_integrations.langchain.tracing import Run
from onegen_integrations.langchain.vectorstores import Hit, Search
from onegen_integrations.shared.search_adapter import SearchAdapter
from onegen_integrations.shared.usable_passages import usable_passages
from onegen_model import Query, ScoredPassage
from onegen_model.errors import OneGenError, RetrievalError

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


class Lookup(Mapping[str, Any]):
    """The retrievals of one request, and the filter of its queries.

    `errors` has a text for each retrieval so far, empty for a successful one. A query is searched
    once: when the driver asks again because another query of its batch failed, the outcome is
    repeated.
    """

    def __init__(
        self,
        search: Search,
        run: Run | None = None,
        *,
        filter: object = None,
        skips_errors: bool = False,
    ) -> None:
        self.errors: list[str] = []
        self._search = search
        self._run = run
        self._filter = filter
        self._skips_errors = skips_errors
        self._query: Query | None = None
        self._outcome: list[ScoredPassage] | Exception = []

    @property
    def retriever(self) -> "SourceRetriever":
        """The retriever that this request shares with others."""
        return _retriever_of(self._search.source)

    def look_up(self, query: Query) -> list[ScoredPassage]:
        """The passages to insert for `query`; raises a OneGenError."""
        if query is not self._query:
            run = self._search_run(query)
            try:
                run.invoke(query.text, self._config(asynchronous=False))
                self._accept(query, run.hits)
            except Exception as error:
                self._fail(query, error)
        return self._repeat()

    async def alook_up(self, query: Query) -> list[ScoredPassage]:
        """Like `look_up`, without blocking the event loop."""
        if query is not self._query:
            run = self._search_run(query)
            try:
                await run.ainvoke(query.text, self._config(asynchronous=True))
                self._accept(query, run.hits)
            except Exception as error:
                self._fail(query, error)
        return self._repeat()

    def _search_run(self, query: Query) -> _SearchRun:
        asked = replace(query, filter=self._filter)  # type: ignore[arg-type]
        return _SearchRun(search=self._search, asked=asked)

    def _config(self, *, asynchronous: bool) -> RunnableConfig:
        if self._run is None:
            return {"run_name": RETRIEVE}
        callbacks = self._run.achild() if asynchronous else self._run.child()
        return {"run_name": RETRIEVE, "callbacks": callbacks}

    def _accept(self, query: Query, hits: Sequence[Hit]) -> None:
        # An unknown score is 0; the core keeps the order of equal scores.
        found = [ScoredPassage(to_passage(document), score or 0.0) for document, score in hits]
        self._outcome = usable_passages(found)
        self._query = query
        self.errors.append("")

    def _fail(self, query: Query, error: Exception) -> None:
        self._query = query
        self.errors.append(f"{type(error).__name__}: {error}")
        self._outcome = [] if self._skips_errors else self._blame(error)

    def _blame(self, error: Exception) -> Exception:
        if isinstance(error, OneGenError):
            return error
        blamed = RetrievalError(
            f"{type(self._search.source).__name__} raised {type(error).__name__}: {error}; "
            "expected documents; see the cause"
        )
        blamed.__cause__ = error
        return blamed

    def _repeat(self) -> list[ScoredPassage]:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    # A mapping of the names that the filter has, if it is one.

    def __getitem__(self, name: str) -> Any:
        return self._names()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> Mapping[str, Any]:
        return self._filter if isinstance(self._filter, Mapping) else {}


class SourceRetriever(SearchAdapter):
    """Both retrievers of the core. The queries of a batch are searched at the same time."""

    def search(self, query: Query) -> list[ScoredPassage]:
        return _lookup_of(query).look_up(query)

    async def asearch(self, query: Query) -> list[ScoredPassage]:
        return await _lookup_of(query).alook_up(query)

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if len(queries) == 1:
            return super().retrieve(queries)
        with ThreadPoolExecutor(min(len(queries), _MAX_THREADS)) as pool:
            tasks = [
                pool.submit(contextvars.copy_context().run, self.search, query) for query in queries
            ]
        return [task.result() for task in tasks]


def _lookup_of(query: Query) -> Lookup:
    if isinstance(query.filter, Lookup):
        return query.filter
    raise RetrievalError(
        "A query without the Lookup of its request; expected one as its filter; pass it as "
        "`RetrievalParams.filter`"
    )


_retrievers: WeakValueDictionary[str, SourceRetriever] = WeakValueDictionary()


def _retriever_of(source: object) -> SourceRetriever:
    """The retriever of all requests that currently search `source`."""
    return _retrievers.setdefault(identity_of(source), SourceRetriever())
