"""One retriever for all requests of a component: batches, contexts, reasons of failed searches."""

import asyncio
import copy
import pickle
from array import array
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

from onegen_integrations.shared.search_adapter import RequestScope, SearchAdapter
from onegen_model import AsyncRetriever, Passage, Query, Retriever, ScoredPassage
from onegen_model.retrieval.protocol import is_retrieving


def query(number: int, scope: RequestScope | None = None) -> Query:
    return Query(array("f", [number]), f"query {number}", top_k=1, filter=scope)


class Numbered(SearchAdapter):
    """Finds the number of a query; fails for an odd one."""

    def __init__(self) -> None:
        self.searched: list[int] = []

    def search(self, query: Query) -> list[ScoredPassage]:
        number = int(query.embedding[0])
        self.searched.append(number)
        if number % 2:
            raise ConnectionError(f"no {number}")
        return [ScoredPassage(Passage(str(number), "text"), 1.0)]

    async def asearch(self, query: Query) -> list[ScoredPassage]:
        await asyncio.sleep(0)
        return self.search(query)


def ask(adapter: SearchAdapter, asynchronous: bool, *queries: Query) -> list[list[str]]:
    found = asyncio.run(adapter.aretrieve(queries)) if asynchronous else adapter.retrieve(queries)
    return [[one.passage.id for one in hits] for hits in found]


both_ways = pytest.mark.parametrize("asynchronous", [False, True])


@both_ways
def test_a_failed_search_is_reported_to_its_own_request_alone(asynchronous: bool) -> None:
    adapter = Numbered()
    assert isinstance(adapter, Retriever)
    assert isinstance(adapter, AsyncRetriever)
    scopes = [RequestScope(skips_errors=True) for _ in range(4)]
    found = ask(adapter, asynchronous, *map(query, (0, 1, 1, 2), scopes))
    assert found == [["0"], [], [], ["2"]]
    errors = [scope.errors for scope in scopes]
    assert errors == [[""], ["ConnectionError: no 1"], ["ConnectionError: no 1"], [""]]


@both_ways
def test_a_failed_search_is_raised_unless_errors_are_skipped(asynchronous: bool) -> None:
    with pytest.raises(ConnectionError, match="no 1"):
        ask(Numbered(), asynchronous, *map(query, (0, 1, 2)))


@both_ways
def test_a_query_is_not_searched_again_because_its_neighbour_failed(asynchronous: bool) -> None:
    adapter = Numbered()
    found, failed = query(0, RequestScope()), query(1, RequestScope())
    with pytest.raises(ConnectionError, match="no 1"):
        ask(adapter, asynchronous, found, failed)
    assert ask(adapter, asynchronous, found) == [["0"]]
    with pytest.raises(ConnectionError, match="no 1"):
        ask(adapter, asynchronous, failed)
    assert sorted(adapter.searched) == [0, 1]


@both_ways
def test_the_second_search_of_a_request_is_not_the_first_one(asynchronous: bool) -> None:
    scope = RequestScope(skips_errors=True)
    adapter = Numbered()
    found = [ask(adapter, asynchronous, query(number, scope)) for number in (0, 1, 2)]
    assert found == [[["0"]], [[]], [["2"]]]
    assert scope.errors == ["", "ConnectionError: no 1", ""]


@both_ways
def test_a_query_that_is_asked_again_without_what_it_excludes_is_one_search(
    asynchronous: bool,
) -> None:
    scope, adapter = RequestScope(skips_errors=True), Numbered()
    asked = replace(query(0, scope), exclude=("0",))
    for one in (asked, replace(asked, exclude=()), query(1, scope), query(2, scope)):
        ask(adapter, asynchronous, one)
    assert scope.errors == ["", "ConnectionError: no 1", ""]


user: ContextVar[int] = ContextVar("user", default=-1)


@both_ways
def test_a_search_sees_the_variables_of_its_own_request(asynchronous: bool) -> None:
    class OfTheUser(Numbered):
        def search(self, query: Query) -> list[ScoredPassage]:
            return [ScoredPassage(Passage(f"of {user.get()}", "text"), 1.0)]

    queries = []
    for number in (0, 1, 2):
        token = user.set(number)
        queries.append(query(number, RequestScope()))
        user.reset(token)
    assert ask(OfTheUser(), asynchronous, *queries) == [["of 0"], ["of 1"], ["of 2"]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_the_scope_in_an_event_can_be_copied(copied: Any) -> None:
    scope = RequestScope(skips_errors=True)
    ask(Numbered(), False, query(1, scope))
    again = copied(scope)
    assert again.errors == ["ConnectionError: no 1"]
    assert ask(Numbered(), False, query(0, again)) == [["0"]]


def test_asynchronous_searches_run_at_the_same_time() -> None:
    class Waiting(Numbered):
        """Each search ends when both have begun."""

        begun = 0

        async def asearch(self, query: Query) -> list[ScoredPassage]:
            self.begun += 1
            while self.begun < 2:
                await asyncio.sleep(0)
            return self.search(query)

    assert ask(Waiting(), True, query(0), query(2)) == [["0"], ["2"]]


def test_a_search_under_the_context_of_its_request_is_marked_as_one_of_a_retriever() -> None:
    marks: list[bool] = []

    class Marked(SearchAdapter):
        def search(self, query: Query) -> list[ScoredPassage]:
            marks.append(is_retrieving())
            return []

        async def asearch(self, query: Query) -> list[ScoredPassage]:
            return self.search(query)

    Marked().retrieve([query(2, RequestScope(None))])
    asyncio.run(Marked().aretrieve([query(4, RequestScope(None))]))
    assert marks == [True, True]
    assert not is_retrieving()
