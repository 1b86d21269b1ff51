"""Both retrievers of the core over the search of a framework."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any

from onegen_model import FailedSearch, Query, ScoredPassage, retrieving


class RequestScope(Mapping[str, Any]):
    """The searches of one request, and the filter of its queries.

    A caller that drives a batch searches for the requests of others too. So each search sees the
    context variables of its own request, in which frameworks keep the user, the run and the span.
    `errors` has a text for each search so far, empty for a successful one. As a mapping, a scope
    has the names of `filter`, if that is a mapping.
    """

    def __init__(self, filter: object = None, *, skips_errors: bool = False) -> None:
        self.errors: list[str] = []
        self.filter = filter
        self.skips_errors = skips_errors
        self._query: Query | None = None
        self._outcome: list[ScoredPassage] | Exception = []
        self.enter()

    def enter(self) -> None:
        """Take the variables of the current context for the following searches."""
        self._context = copy_context()

    def __getstate__(self) -> dict[str, Any]:
        # Handlers of events copy the arguments of a call, and a context cannot be copied so.
        return {name: value for name, value in vars(self).items() if name != "_context"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self.enter()

    @property
    def context(self) -> Context:
        """The variables of the request, for one search: a context cannot be entered twice."""
        return self._context.copy()

    def has_outcome(self, query: Query) -> bool:
        """Whether `query` has been searched: the driver asks again where a neighbour failed."""
        return query is self._query

    def accept(self, query: Query, found: list[ScoredPassage]) -> None:
        """Keep what was found for `query`."""
        self._note(query, "")
        self._outcome = found

    def fail(self, query: Query, error: Exception) -> None:
        """Keep the error of the search for `query`."""
        reason = f"{type(error).__name__}: {error}"
        self._note(query, reason)
        self._outcome = FailedSearch(reason) if self.skips_errors else self.blame(error)

    def _note(self, query: Query, error: str) -> None:
        # The core may ask once more for the same query, without what it excludes.
        if self.errors and self._query and self._query.embedding is query.embedding:
            error = self.errors.pop() or error
        self._query = query
        self.errors.append(error)

    def blame(self, error: Exception) -> Exception:
        """The error that ends the request."""
        return error

    def outcome(self) -> list[ScoredPassage]:
        """The passages of the last search; raises its error."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def __getitem__(self, name: str) -> Any:
        return self._names()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> Mapping[str, Any]:
        return self.filter if isinstance(self.filter, Mapping) else {}


class SearchAdapter(ABC):
    """A retriever of the core whose subclass searches for one query.

    One object serves all requests of a component: the scheduler then hands it their queries
    together, and asynchronous searches run at the same time. The filter of a query may be the
    `RequestScope` of its request; then the query is searched once.
    """

    @abstractmethod
    def search(self, query: Query) -> list[ScoredPassage]:
        """The passages for one query, best first."""

    @abstractmethod
    async def asearch(self, query: Query) -> list[ScoredPassage]:
        """The same without blocking the event loop."""

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        scopes = [_scope_of(query) for query in queries]
        self._search_all(queries, scopes)
        return [scope.outcome() for scope in scopes]

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        scopes = [_scope_of(query) for query in queries]
        # Even if one was cancelled, none is still searching when all have returned.
        ended = await asyncio.gather(
            *map(self._asearch_in, queries, scopes), return_exceptions=True
        )
        for cancelled in filter(None, ended):
            raise cancelled
        return [scope.outcome() for scope in scopes]

    def _search_all(self, queries: Sequence[Query], scopes: Sequence[RequestScope]) -> None:
        for query, scope in zip(queries, scopes, strict=True):
            self._search_in(query, scope)

    def _search_in(self, query: Query, scope: RequestScope) -> None:
        if scope.has_outcome(query):
            return
        try:
            scope.accept(query, scope.context.run(self._marked_search, query))
        except Exception as error:
            scope.fail(query, error)

    # The context of the request does not say that a retriever of the model is at work.

    def _marked_search(self, query: Query) -> list[ScoredPassage]:
        with retrieving():
            return self.search(query)

    async def _marked_asearch(self, query: Query) -> list[ScoredPassage]:
        with retrieving():
            return await self.asearch(query)

    async def _asearch_in(self, query: Query, scope: RequestScope) -> None:
        if scope.has_outcome(query):
            return
        searching = self._marked_asearch(query)
        try:
            found = await asyncio.create_task(searching, context=scope.context)
            scope.accept(query, found)
        except Exception as error:
            scope.fail(query, error)


def _scope_of(query: Query) -> RequestScope:
    return query.filter if isinstance(query.filter, RequestScope) else RequestScope(query.filter)
