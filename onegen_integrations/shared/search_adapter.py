"""Both retrievers of the core over the search of a framework."""

import asyncio
import weakref
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence

from onegen_model import Query, ScoredPassage


class SearchErrors:
    """The reasons of failed searches, which the events of the requests do not hold.

    The key of a reason is the object of the query embedding, which the event `RetrievalRequested`
    of the request holds too; the reason is dropped with that object. Equal values would not do:
    another request with the same question has an equal embedding.
    """

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def __reduce__(self) -> tuple[type["SearchErrors"], tuple[()]]:
        return SearchErrors, ()

    def add(self, query: Query, error: Exception) -> None:
        key = id(query.embedding)
        if key not in self._texts:
            weakref.finalize(query.embedding, self._texts.pop, key, None).atexit = False
        self._texts[key] = f"{type(error).__name__}: {error}"

    def take(self, embedding: "array[float]") -> str:
        """The reason as text, once; "" where the search did not fail."""
        return self._texts.pop(id(embedding), "")


class SearchAdapter(ABC):
    """A retriever of the core whose subclass searches for one query.

    One object serves all requests of a component: the scheduler then hands it their queries
    together, and asynchronous searches run at the same time. `errors` has the reason of a failed
    search where `skips_errors` is set.
    """

    def __init__(self, *, skips_errors: bool = False) -> None:
        self.skips_errors = skips_errors
        self.errors = SearchErrors()

    @abstractmethod
    def search(self, query: Query) -> list[ScoredPassage]:
        """The passages for one query, best first."""

    @abstractmethod
    async def asearch(self, query: Query) -> list[ScoredPassage]:
        """The same without blocking the event loop."""

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        return [self._search(query) for query in queries]

    async def aretrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        found = await asyncio.gather(*map(self._asearch, queries), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one for one in found if not isinstance(one, BaseException)]

    def _search(self, query: Query) -> list[ScoredPassage]:
        try:
            return self.search(query)
        except Exception as error:
            return self._fail(query, error)

    async def _asearch(self, query: Query) -> list[ScoredPassage]:
        try:
            return await self.asearch(query)
        except Exception as error:
            return self._fail(query, error)

    def _fail(self, query: Query, error: Exception) -> list[ScoredPassage]:
        if not self.skips_errors:
            raise error
        self.errors.add(query, error)
        return []
