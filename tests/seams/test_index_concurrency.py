"""An index between threads: searches meet searches, changes and saves."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onegen_model import Passage, PassageIndex
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexes import ids, passages, query

_SECONDS = 60.0  # until a thread that waits in vain fails


class Pausing:
    """A value of a filter that equals "en", and calls `pause` when it is first compared."""

    __hash__ = None

    def __init__(self, pause: Callable[[], object]) -> None:
        self._pause: Callable[[], object] | None = pause

    def __eq__(self, other: object) -> bool:
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause()
        return other == "en"


@pytest.fixture
def index() -> PassageIndex:
    return PassageIndex.build(FakeEmbedder(), passages(30))


def search(index: PassageIndex, pause: Callable[[], object]) -> list[str]:
    return ids(index.retrieve([query("a", 100, filter={"lang": Pausing(pause)})])[0])


def test_two_searches_run_at_the_same_time(index: PassageIndex) -> None:
    barrier = threading.Barrier(2, timeout=_SECONDS)
    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(search, index, barrier.wait) for _ in range(2)]
        one, other = (each.result() for each in searches)
    assert one == other
    assert len(one) == 20


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.add(passages(60)),
        lambda index: index.delete(map(str, range(29))),
        lambda index: index.add([Passage("7", "another text")]),
        lambda index: index.add([Passage("7", "text 7", "title 7", {"lang": "de"})]),
    ],
)
def test_a_search_sees_the_passages_as_they_were_when_it_began(
    index: PassageIndex, change: Callable[[PassageIndex], object]
) -> None:
    before = search(index, lambda: None)

    def change_elsewhere() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(change, index).result(timeout=_SECONDS)

    assert search(index, change_elsewhere) == before
    assert search(index, lambda: None) != before


def test_a_search_does_not_wait_for_a_save(index: PassageIndex, tmp_path: Path) -> None:
    def save() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(index.save, tmp_path / "my.index").result(timeout=_SECONDS)

    assert len(search(index, save)) == 20
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path / "my.index")) == 30


def test_a_search_does_not_wait_for_passages_that_are_embedded(index: PassageIndex) -> None:
    class Slow(FakeEmbedder):
        found: list[str]

        def embed_passages(self, some, *, progress=False):  # type: ignore[no-untyped-def]
            with ThreadPoolExecutor(1) as pool:
                search_now = pool.submit(lambda: ids(own.retrieve([query("a", 100)])[0]))
                self.found = search_now.result(timeout=_SECONDS)
            return super().embed_passages(some)

    embedder = Slow()
    own = PassageIndex(embedder)
    own.add(passages(5))
    assert embedder.found == []
    own.add(passages(6))
    assert len(embedder.found) == 5
