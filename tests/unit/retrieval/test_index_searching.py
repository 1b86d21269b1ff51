"""An index as it is searched: shared filters, equal scores, brute force, threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model.events import Passage
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import ids, passages, query


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


class Counting:
    """A value of a filter that counts how often it is compared."""

    def __init__(self, wanted: object) -> None:
        self.wanted = wanted
        self.comparisons = 0

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        self.comparisons += 1
        return other == self.wanted


def test_one_search_for_queries_that_share_a_filter(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(200))
    english = Counting("en")
    asked = [
        query(f"q{n}", 1 + n % 4, exclude=tuple(map(str, range(n))), filter={"lang": english})
        for n in range(16)
    ]
    together = index.retrieve(asked)
    assert english.comparisons == 200
    assert together == [index.retrieve([one])[0] for one in asked]
    english.comparisons = 0
    index.retrieve([query("a", filter={"lang": english, "year": year}) for year in (1, 2)])
    assert english.comparisons == 400


def test_a_list_is_in_no_set_of_a_filter(embedder: FakeEmbedder) -> None:
    tagged = [Passage("list", "a", metadata={"tag": ["x"]}), Passage("text", "b", "", {"tag": "x"})]
    index = PassageIndex.build(embedder, tagged)
    [found] = index.search(unit("a")[None], 2, filter={"tag": {"x", "y"}})
    assert ids(found) == ["text"]


def test_equal_scores_keep_the_order_of_adding(embedder: FakeEmbedder) -> None:
    same = [Passage(f"{n:02}", "same text") for n in reversed(range(60))]
    index = PassageIndex.build(embedder, same)
    [found] = index.search(unit("same text")[None], 7)
    assert ids(found) == [f"{n:02}" for n in reversed(range(53, 60))]
    [many] = {tuple(ids(found)) for found in index.search(np.tile(unit("same text"), (64, 1)), 7)}
    assert list(many) == ids(found)


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(0, 2)), max_size=25)


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    deleted=st.sets(st.integers(0, 24)),
    excluded=st.lists(st.sets(st.integers(0, 24), max_size=6), min_size=1, max_size=5),
    top_k=st.integers(1, 6),
    kind=st.one_of(st.none(), st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2)),
)
def test_equals_brute_force(
    rows: list[tuple[int, int, int]],
    deleted: set[int],
    excluded: list[set[int]],
    top_k: int,
    kind: int | list[int] | None,
) -> None:
    """Few distinct vectors, so that ties and shared fragments are common."""
    index = PassageIndex(FakeEmbedder())
    stored: dict[str, tuple[Passage, np.ndarray]] = {}
    for n, (seed, count, value) in enumerate(rows):
        vectors = np.stack([unit(str((seed + f) % 10)) for f in range(count)])
        passage = Passage(str(n), f"text {n}", metadata={"kind": value})
        index.add_embedded([passage] * count, vectors)
        stored[passage.id] = (passage, vectors)
    index.delete(map(str, deleted))
    for n in deleted:
        stored.pop(str(n), None)
    filter = None if kind is None else {"kind": kind}
    asked = [
        query(str(n), top_k, filter=filter, exclude=tuple(map(str, out)))
        for n, out in enumerate(excluded)
    ]
    for one, found in zip(asked, index.retrieve(asked), strict=True):
        allowed = kind if isinstance(kind, list) else [kind]
        scores = {
            key: float((vectors @ np.asarray(one.embedding, dtype=np.float64)).max())
            for key, (passage, vectors) in stored.items()
            if key not in one.exclude and (filter is None or passage.metadata["kind"] in allowed)
        }
        best = sorted(scores, key=lambda key: (-round(scores[key], 9), int(key)))[:top_k]
        assert ids(found) == best
        assert [s.score for s in found] == pytest.approx([scores[key] for key in best], abs=1e-6)


def test_threads_add_retrieve_and_delete(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(50))
    stop = threading.Event()

    def read(n: int) -> int:
        calls = 0
        while not stop.is_set():
            [found] = index.retrieve([query(f"title {n}text {n}", 2)])
            assert ids(found)[0] == str(n)
            calls += 1
        return calls

    def write(n: int) -> None:
        for step in range(10):
            start = 1000 * (n + 1) + 20 * step
            index.add(passages(20, start))
            index.delete([str(start)])

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read, n) for n in range(4)]
        writers = [pool.submit(write, n) for n in range(4)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert len(index) == 50 + 4 * 10 * 19
