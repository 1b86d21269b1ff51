"""One retriever for all requests of a component: batches, and the reason of a failed search."""

import asyncio
from array import array

import pytest

from onegen_integrations.shared.search_adapter import SearchAdapter, SearchErrors
from onegen_model import AsyncRetriever, Passage, Query, Retriever, ScoredPassage


def query(number: int) -> Query:
    return Query(array("f", [number]), f"query {number}", top_k=1)


class Numbered(SearchAdapter):
    """Finds the number of a query; fails for an odd one."""

    def search(self, query: Query) -> list[ScoredPassage]:
        number = int(query.embedding[0])
        if number % 2:
            raise ConnectionError(f"no {number}")
        return [ScoredPassage(Passage(str(number), "text"), 1.0)]

    async def asearch(self, query: Query) -> list[ScoredPassage]:
        await asyncio.sleep(0)
        return self.search(query)


def found_by(adapter: SearchAdapter, asynchronous: bool, *numbers: int) -> list[list[str]]:
    queries = [query(number) for number in numbers]
    found = asyncio.run(adapter.aretrieve(queries)) if asynchronous else adapter.retrieve(queries)
    return [[one.passage.id for one in hits] for hits in found]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_search_is_told_to_its_own_request_alone(asynchronous: bool) -> None:
    adapter = Numbered(skips_errors=True)
    assert isinstance(adapter, Retriever)
    assert isinstance(adapter, AsyncRetriever)
    assert found_by(adapter, asynchronous, 0, 1, 2) == [["0"], [], ["2"]]
    assert adapter.errors.take(query(0).embedding) == ""
    assert adapter.errors.take(query(1).embedding) == "ConnectionError: no 1"
    assert adapter.errors.take(query(1).embedding) == "", "once"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_search_is_raised_unless_errors_are_skipped(asynchronous: bool) -> None:
    with pytest.raises(ConnectionError, match="no 1"):
        found_by(Numbered(), asynchronous, 0, 1, 2)


def test_asynchronous_searches_run_at_the_same_time() -> None:
    class Waiting(Numbered):
        """Each search ends when both have begun."""

        begun = 0

        async def asearch(self, query: Query) -> list[ScoredPassage]:
            self.begun += 1
            while self.begun < 2:
                await asyncio.sleep(0)
            return self.search(query)

    assert found_by(Waiting(), True, 0, 2) == [["0"], ["2"]]


def test_reasons_that_nobody_asks_for_do_not_pile_up() -> None:
    errors = SearchErrors()
    for number in range(2000):
        errors.add(query(number), ValueError(str(number)))
    kept = [number for number in range(2000) if errors.take(query(number).embedding)]
    assert kept == list(range(2000 - 1024, 2000))
