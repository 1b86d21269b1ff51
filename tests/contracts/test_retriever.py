"""What every retriever promises: order, budget, exclusion, filters, batches, threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onegen_model import Passage, Query, Retriever
from onegen_model.retrieval.protocol import check_answers, require_retriever, select_passages
from tests.support.indexes import ids, query
from tests.support.retrievers import RETRIEVERS

WORDS = ("mill", "town", "river", "bridge", "market")
PASSAGES = [
    Passage(
        f"p{n}",
        " ".join(["mill"] * (1 + n % 4) + ["town", WORDS[n % 5], f"word{n}"]),
        metadata={"n": n, "lang": "de" if n % 3 else "en"},
    )
    for n in range(40)
]


@pytest.fixture(params=RETRIEVERS)
def retriever(request: pytest.FixtureRequest, tmp_path: Path) -> Retriever:
    return RETRIEVERS[request.param](PASSAGES, tmp_path)


def retrieve(retriever: Retriever, top_k: int = 5, text: str = "mill town", **options: Any) -> Any:
    [found] = retriever.retrieve([query(text, top_k, **options)])
    return found


def test_it_is_a_retriever_whose_answers_can_be_inserted(retriever: Retriever) -> None:
    require_retriever(retriever, in_threads=True)
    asked = [query("mill town", 5), query("river", 2)]
    answers = check_answers(retriever.retrieve(asked), asked, retriever)
    for one, answer in zip(asked, answers, strict=True):
        assert select_passages(answer, one, retriever) == answer


def test_the_best_passages_come_first_and_once(retriever: Retriever) -> None:
    found = retrieve(retriever, 40)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(found))) == len(found) > 5
    assert all(hit.passage in PASSAGES for hit in found)


@pytest.mark.parametrize("top_k", [1, 3, 40, 1000])
def test_at_most_top_k_are_found_and_they_are_the_best(retriever: Retriever, top_k: int) -> None:
    everything = retrieve(retriever, 1000)
    assert retrieve(retriever, top_k) == everything[:top_k]


def test_an_excluded_passage_is_replaced_by_the_next(retriever: Retriever) -> None:
    everything = ids(retrieve(retriever, 1000))
    left_out = (everything[0], everything[2], "unknown")
    found = ids(retrieve(retriever, 4, exclude=left_out))
    assert found == [one for one in everything if one not in left_out][:4]


@pytest.mark.parametrize(
    "filter",
    [{"lang": "en"}, {"lang": ["en", "fr"], "n": {"$lt": 20}}, {"n": {"$in": [1, 2, 3]}}, {}],
)
def test_a_filter_does_not_change_the_order(retriever: Retriever, filter: Any) -> None:
    def passes(metadata: dict[str, Any]) -> bool:
        languages = filter.get("lang", ("de", "en"))
        fits = metadata["lang"] in ([languages] if isinstance(languages, str) else languages)
        wanted = filter.get("n", {})
        return (
            fits
            and metadata["n"] < wanted.get("$lt", 99)
            and metadata["n"] in wanted.get("$in", range(99))
        )

    everything = retrieve(retriever, 1000)
    expected = [hit for hit in everything if passes(hit.passage.metadata)]
    assert expected
    assert retrieve(retriever, 1000, filter=filter) == expected
    assert retrieve(retriever, 2, filter=filter) == expected[:2]


def test_nothing_is_found_where_nothing_is_left(retriever: Retriever) -> None:
    everything = tuple(passage.id for passage in PASSAGES)
    assert retrieve(retriever, exclude=everything) == []
    assert retrieve(retriever, filter={"lang": "fr"}) == []
    assert retrieve(retriever, filter={"unknown": None}) == []
    assert retriever.retrieve([]) == []


def several() -> list[Query]:
    """Different budgets, exclusions and filters."""
    return [
        query(
            f"{WORDS[n % 5]} mill",
            1 + n % 6,
            exclude=tuple(f"p{i}" for i in range(n)),
            filter=[None, {"lang": "de"}, {"n": {"$gte": 7}}][n % 3],
        )
        for n in range(12)
    ]


def test_several_queries_at_once_find_what_each_finds_alone(retriever: Retriever) -> None:
    asked = several()
    together = retriever.retrieve(asked)
    assert together == [retriever.retrieve([one])[0] for one in asked]
    assert len(set(map(len, together))) > 1


def test_threads_find_the_same(retriever: Retriever) -> None:
    asked = several()
    expected = retriever.retrieve(asked)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(retriever.retrieve, [asked] * 16):
            assert found == expected
