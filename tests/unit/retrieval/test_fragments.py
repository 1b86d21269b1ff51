"""Long passages in an index: several vectors each; and the neighbours of a passage."""

from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onegen_model import NeighbourRetriever, Passage, PassageIndex, PassagePlace, Query
from onegen_model.errors import InvalidInputError
from onegen_model.events import FragmentHit
from onegen_model.retrieval.protocol import require_retriever
from tests.support.fake_embedder import FakeEmbedder, unit

WORDS = [f"word{n}" for n in range(25)]


class Cutting(FakeEmbedder):
    """Fragments of at most ten words, the title included."""

    def __init__(self) -> None:
        super().__init__(max_passage_tokens=10)

    def fragments(self, passage: Passage) -> Iterator[Passage]:
        words, size = passage.text.split(), self.max_passage_tokens - 1
        for start in range(0, len(words), size):
            yield replace(passage, text=" ".join(words[start : start + size]))


LONG = Passage("long", " ".join(WORDS), "title", {"kind": "long"})
SHORT = [Passage(f"short {n}", f"text {n}", "title", {"kind": "short"}) for n in range(30)]


def fragment(n: int) -> np.ndarray:
    return unit("title" + " ".join(WORDS[9 * n : 9 * n + 9]))[None]


@pytest.fixture
def index() -> PassageIndex:
    return PassageIndex.build(Cutting(), [*SHORT[:20], LONG, *SHORT[20:]])


@pytest.mark.parametrize("n", range(3))
def test_a_long_passage_is_found_by_each_of_its_fragments(index: PassageIndex, n: int) -> None:
    assert len(index) == 31
    [[hit, *others]] = index.search(fragment(n), 5)
    assert isinstance(hit, FragmentHit)
    assert (hit.passage, hit.fragment) == (LONG, n)
    assert hit.score == pytest.approx(1)
    assert len({one.passage.id for one in others} - {"long"}) == 4


def test_fragments_outlive_saving_deleting_and_adding(index: PassageIndex, tmp_path: Path) -> None:
    index.delete(one.id for one in SHORT[:15])
    index.save(tmp_path / "my.index")
    embedder = Cutting()
    loaded = PassageIndex.load(embedder, tmp_path / "my.index")
    for one in (index, loaded):
        [[hit]] = one.search(fragment(2), 1)
        assert isinstance(hit, FragmentHit)
        assert hit.fragment == 2
    assert loaded.add([LONG, *SHORT[15:]]) == 0
    assert embedder.embedded == []
    changed = replace(LONG, text=" ".join(WORDS[:12]))
    assert loaded.add([changed]) == 1
    assert embedder.embedded == ["long", "long"]
    [[hit]] = loaded.search(fragment(2), 1, exclude=["long"])
    assert not isinstance(hit, FragmentHit)


def test_the_order_of_results_does_not_depend_on_the_number_of_fragments(
    index: PassageIndex,
) -> None:
    [some] = index.search(fragment(0), 3)
    [many] = index.search(fragment(0), 31)
    assert many[:3] == some
    assert len({hit.passage.id for hit in many}) == len(many) == 31


def test_given_passages_are_ranked_as_a_search_ranks_them(index: PassageIndex) -> None:
    twins = [Passage("twin", "text 7", "title"), Passage("short 7", "text 7", "title")]
    index.add(twins)
    index.delete(["short 3"])
    vectors = np.concatenate([fragment(1), unit("short 7")[None]])
    everything = index.search(vectors, 99)
    wanted = ["twin", "short 3", "long", "short 7", "unknown", "short 9", "long"]
    ranked = index.rank(vectors, [wanted, wanted])
    assert ranked == [[hit for hit in hits if hit.passage.id in wanted] for hits in everything]
    assert [len(hits) for hits in ranked] == [4, 4]
    assert isinstance(ranked[0][0], FragmentHit)
    assert index.rank(vectors, [[], ["unknown"]]) == [[], []]


def town(chunk: int, **metadata: str) -> Passage:
    place = PassagePlace("a.md", "a.md", chunk, 6)
    return Passage(place.passage_id, f"Town {chunk}.", metadata={**metadata, **place.to_metadata()})


def around(index: PassageIndex, passage: Passage, window: int, **values: object) -> list[str]:
    query = Query(array("f", [1.0]), "?", 1, **values)  # type: ignore[arg-type]
    return [one.id[-1] for one in index.neighbours(passage, window, query)]


def test_an_index_knows_the_neighbours_of_a_passage() -> None:
    towns = [town(n, land="x" if n < 4 else "y") for n in range(6)]
    index = PassageIndex.build(FakeEmbedder(), [*towns, *SHORT])
    assert isinstance(index, NeighbourRetriever)
    assert around(index, towns[2], 1) == ["1", "2", "3"]
    assert around(index, towns[0], 2) == ["0", "1", "2"]
    assert around(index, towns[5], 9) == ["0", "1", "2", "3", "4", "5"]
    assert around(index, towns[3], 2, filter={"land": "x"}) == ["1", "2", "3"]
    index.delete(["a.md#1"])
    assert around(index, towns[2], 2) == ["2", "3", "4"]
    assert around(index, SHORT[3], 2) == ["3"], "it has no place"


def test_a_window_over_a_retriever_without_neighbours_is_refused() -> None:
    class Alone:
        def retrieve(self, queries: object) -> list[object]:
            return []

    require_retriever(Alone())
    with pytest.raises(InvalidInputError, match="window=2 with Alone, which has no method `neigh"):
        require_retriever(Alone(), window=2)
