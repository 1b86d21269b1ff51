"""One retriever for all requests of a component: batches, and the reason of a failed search."""

import asyncio
import gc
import pickle
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


def found_by(
    adapter: SearchAdapter, asynchronous: bool, *numbers: int
) -> tuple[list[list[str]], list[Query]]:
    queries = [query(number) for number in numbers]
    found = asyncio.run(adapter.aretrieve(queries)) if asynchronous else adapter.retrieve(queries)
    return [[one.passage.id for one in hits] for hits in found], queries


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_search_is_reported_to_its_own_request_alone(asynchronous: bool) -> None:
    adapter = Numbered(skips_errors=True)
    assert isinstance(adapter, Retriever)
    assert isinstance(adapter, AsyncRetriever)
    found, queries = found_by(adapter, asynchronous, 0, 1, 1, 2)
    assert found == [["0"], [], [], ["2"]]
    reply = [adapter.errors.take(one.embedding) for one in queries]
    assert reply == ["", "ConnectionError: no 1", "ConnectionError: no 1", ""]
    assert adapter.errors.take(queries[1].embedding) == "", "once"


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

    found, _ = found_by(Waiting(), True, 0, 2)
    assert found == [["0"], ["2"]]


def test_a_reason_is_never_that_of_an_earlier_request_with_the_same_question() -> None:
    errors = SearchErrors()
    cancelled = query(1)
    errors.add(cancelled, ValueError("too late"))
    same = query(1)
    assert errors.take(same.embedding) == ""
    del cancelled
    gc.collect()
    assert all(errors.take(query(1).embedding) == "" for _ in range(1000)), "its id is used again"


def test_an_adapter_is_pickled_without_reasons() -> None:
    adapter, failed = Numbered(skips_errors=True), query(1)
    adapter.retrieve([failed])
    copy = pickle.loads(pickle.dumps(adapter))
    assert copy.skips_errors
    assert copy.errors.take(failed.embedding) == ""
    assert adapter.errors.take(failed.embedding) == "ConnectionError: no 1"
