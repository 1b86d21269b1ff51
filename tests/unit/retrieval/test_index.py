"""What an index finds, exactly, while passages are added, replaced and deleted."""

import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model.errors import InvalidInputError, MissingExtraError, PassageTooLongError
from onegen_model.events import Passage, Query
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import ids, passages, query, write_version_1


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


def test_finds_the_nearest_passage(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(50))
    [found] = index.retrieve([query("title 7text 7")])
    assert ids(found)[0] == "7"
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert len(index) == 50
    assert "7" in index
    assert "70" not in index
    assert index.passages == tuple(passages(50))


def test_an_empty_index_finds_nothing(embedder: FakeEmbedder) -> None:
    index = PassageIndex(embedder)
    assert index.retrieve([query("a"), query("b")]) == [[], []]
    assert index.retrieve([]) == []
    assert index.search(np.zeros((0, 8), dtype=np.float32), 2) == []
    assert PassageIndex.build(embedder, []).passages == ()


def test_top_k_above_the_size_returns_all(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(4))
    [found] = index.search(unit("a")[None], 100)
    assert len(found) == 4


# --- adding, replacing, deleting ---


def test_known_passages_are_not_embedded_again(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(70))
    embedder.embedded.clear()
    assert index.add(passages(75)) == 5
    assert embedder.embedded == ["70", "71", "72", "73", "74"]


def test_other_content_replaces_and_other_metadata_does_not_embed(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(5))
    embedder.embedded.clear()
    index.add([Passage("2", "new text"), Passage("3", "text 3", "title 3", {"seen": True})])
    assert embedder.embedded == ["2"]
    assert len(index) == 5
    assert ids(index.retrieve([query("new text", 1)])[0]) == ["2"]
    [found] = index.retrieve([query("title 3text 3", 1, filter={"seen": True})])
    assert found[0].passage.metadata == {"seen": True}


def test_delete(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(20))
    assert index.delete(["3", "4", "unknown"]) == 2
    assert index.delete(["3"]) == 0
    assert "3" not in index
    assert len(index) == 18
    [found] = index.search(unit("title 5text 5")[None], 18)
    assert ids(found)[0] == "5"
    assert "3" not in ids(found)
    with pytest.raises(InvalidInputError, match=r"write \['5'\]"):
        index.delete("5")


def test_deleted_passages_take_no_place_among_the_found(embedder: FakeEmbedder) -> None:
    same = [Passage(f"same {n:02}", "same text") for n in range(60)]
    index = PassageIndex.build(embedder, [*same, *passages(60)])
    for count in (5, 10, 40):  # Few are marked, many are removed.
        index.delete(f"same {n:02}" for n in range(count))
        [found] = index.search(unit("same text")[None], 3)
        assert ids(found) == [f"same {n:02}" for n in range(count, count + 3)]
        assert len(index) == len(index.passages) == 120 - count
    index.add(same[:1])
    [found] = index.search(unit("same text")[None], 100, filter={})
    assert ids(found)[:21] == [*(f"same {n:02}" for n in range(40, 60)), "same 00"]
    assert len(found) == len(index) == 81
    assert sum(len(some) for some, _ in index.batches()) == 81


def test_what_was_embedded_before_a_failure_stays(embedder: FakeEmbedder) -> None:
    index = PassageIndex(embedder)
    long = Passage("long", "word " * 100)
    with pytest.raises(PassageTooLongError):
        index.add([*passages(300), long])
    assert 0 < len(index) < 300
    embedder.embedded.clear()
    index.add(passages(300))
    assert len(index) == 300
    assert len(embedder.embedded) < 300


def test_a_passage_is_as_good_as_its_best_fragment(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, passages(20))
    many = Passage("many", "several fragments")
    vectors = np.stack([unit(f"fragment {n}") for n in range(30)])
    index.add_embedded([many] * 30, vectors)
    assert len(index) == 21
    [found] = index.search(vectors[17][None], 21)
    assert ids(found)[0] == "many"
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert sorted(ids(found)) == sorted([*map(str, range(20)), "many"])
    index.delete(["many"])
    assert len(index.search(vectors[17][None], 100)[0]) == 20


def test_fragments_may_come_mixed(embedder: FakeEmbedder) -> None:
    one, two = Passage("1", "one"), Passage("2", "two")
    index = PassageIndex(embedder)
    index.add_embedded([one, two, one], np.stack([unit("a"), unit("b"), unit("c")]))
    for text, expected in (("a", "1"), ("b", "2"), ("c", "1")):
        assert ids(index.retrieve([query(text, 1)])[0]) == [expected]


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        (np.ones((2, 8), dtype=np.float32), "not normalised"),
        (np.zeros((2, 8), dtype=np.float32), "not normalised"),
        (np.eye(8, dtype=np.float32)[:1], r"shape \(1, 8\); expected .*\(2, 8\)"),
        (np.eye(2, 7, dtype=np.float32), r"shape \(2, 7\)"),
        (np.eye(2, 8, dtype=np.int64), "type int64"),
        (np.full((2, 8), np.nan, dtype=np.float32), "NaN"),
        ([[1.0] * 8, [1.0]], "different lengths"),
    ],
)
def test_bad_vectors(embedder: FakeEmbedder, vectors: Any, complaint: str) -> None:
    index = PassageIndex(embedder)
    with pytest.raises(InvalidInputError, match=complaint):
        index.add_embedded(passages(2), vectors)
    assert len(index) == 0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([Passage("", "a")], "has the id ''"),
        ([Passage("1", "a"), Passage("1", "b")], "Two passages have the id '1'"),
        ([Passage("1", "a", metadata={"x": {1, 2}})], "cannot be saved"),
        ([Passage("1", "\ud800")], "cannot be saved"),
        ([Passage("ok", "a"), Passage("e", " \n")], "Passage 'e' is empty; expected some text"),
        ([Passage("1", None)], "Passage '1' has a text of type NoneType; expected str"),
        ([Passage("1", "a", 7)], "Passage '1' has a title of type int; expected str"),
        ([Passage("1", "a", "", None)], "Passage '1' has metadata of type NoneType"),
        (["text"], r"passages\[0\] is a str; expected a Passage"),
    ],
)
def test_a_passage_that_cannot_be_used_is_named_by_its_id(
    embedder: FakeEmbedder, given: list[Any], complaint: str
) -> None:
    index = PassageIndex(embedder)
    with pytest.raises(InvalidInputError, match=complaint):
        index.add_embedded(given, np.stack([unit("a")] * len(given)))
    with pytest.raises(InvalidInputError, match=complaint):
        index.add(given)
    assert embedder.embedded == []


def test_a_vector_that_is_no_number_names_its_passage(embedder: FakeEmbedder) -> None:
    index = PassageIndex(embedder)
    vectors = np.stack([unit("a"), unit("b"), unit("c")])
    vectors[1, 3] = np.nan
    with pytest.raises(InvalidInputError, match=r"NaN or infinite numbers \(passage '1'\)"):
        index.add_embedded(passages(3), vectors)
    vectors[1] = 2 * unit("b")
    with pytest.raises(InvalidInputError, match=r"not normalised \(passage '1'\)"):
        index.add_embedded(passages(3), vectors)
    assert len(index) == 0


def test_an_index_with_an_empty_passage_of_an_older_release_still_loads(tmp_path: Path) -> None:
    write_version_1(tmp_path / "old.index", [Passage("empty", "", "title")], unit("a")[None])
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path / "old.index")) == 1


def test_the_same_passage_twice_is_one(embedder: FakeEmbedder) -> None:
    assert len(PassageIndex.build(embedder, [Passage("1", "a"), Passage("1", "a")])) == 1


@pytest.mark.parametrize("embedding", [[1.0, 0.0], [float("nan")] * 8])
def test_bad_queries(embedder: FakeEmbedder, embedding: list[float]) -> None:
    index = PassageIndex.build(embedder, passages(2))
    with pytest.raises(InvalidInputError, match="expected float32 unit vectors"):
        index.retrieve([Query(array("f", embedding), "", 1)])
    with pytest.raises(InvalidInputError, match="top_k"):
        index.search(unit("a")[None], 0)


@pytest.mark.parametrize("vectors", [0.5, [[1.0, 0.0], [1.0]], [0.1] * 8, ["text"], np.float32(1)])
def test_vectors_of_no_clear_shape_are_one_clear_error(
    embedder: FakeEmbedder, vectors: Any
) -> None:
    with pytest.raises(InvalidInputError, match="expected float32 unit vectors"):
        PassageIndex.build(embedder, passages(2)).search(vectors, 1)


def test_without_faiss(embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r'pip install "onegen\[faiss\]"'):
        PassageIndex(embedder)


# --- exactness ---
