"""Updates that reuse vectors of known content, and removals by id, source and document."""

from dataclasses import replace

import numpy as np
import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.places import PassagePlace
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.updates import RemovalReport, UpdateReport
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import ids, passages, query


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def index(embedder: FakeEmbedder) -> PassageIndex:
    built = PassageIndex.build(embedder, passages(10))
    embedder.embedded.clear()
    return built


def vectors(index: PassageIndex) -> dict[str, list[float]]:
    return {
        passage.id: row.tolist()
        for some, rows in index.batches()
        for passage, row in zip(some, rows, strict=True)
    }


def test_known_content_is_not_embedded_again_under_any_id(
    index: PassageIndex, embedder: FakeEmbedder
) -> None:
    moved = [replace(passage, id=f"new {passage.id}") for passage in passages(3)]
    assert index.update([*moved, Passage("more", "other")]) == UpdateReport(
        added=4, embedded=1, reused=3
    )
    assert embedder.embedded == ["more"]
    found = vectors(index)
    assert found["new 2"] == found["2"] == unit("title 2text 2").tolist()
    assert ids(index.retrieve([query("title 2text 2", 2)])[0]) == ["2", "new 2"]


def test_passages_that_exchange_their_content_exchange_their_vectors(
    index: PassageIndex, embedder: FakeEmbedder
) -> None:
    shifted = [Passage("0", "a new beginning")]
    shifted += [replace(passage, id=str(n + 1)) for n, passage in enumerate(passages(9))]
    assert index.update(shifted) == UpdateReport(changed=10, embedded=1, reused=9)
    assert embedder.embedded == ["0"]
    assert len(index) == 10
    for passage in shifted:
        assert vectors(index)[passage.id] == unit(passage.title + passage.text).tolist()


def test_unchanged_passages_only_get_their_metadata(
    index: PassageIndex, embedder: FakeEmbedder
) -> None:
    same = [replace(passage, metadata={"seen": True}) for passage in passages(10)]
    assert index.update(same) == UpdateReport(unchanged=10)
    assert embedder.embedded == []
    assert all(passage.metadata == {"seen": True} for passage in index.passages)


def test_all_vectors_of_a_passage_are_reused(embedder: FakeEmbedder) -> None:
    long = Passage("long", "two fragments")
    index = PassageIndex.build(embedder, passages(2))
    index.add_embedded([long, long], np.array([unit("one"), unit("two")]))
    index.update([replace(long, id="copy")])
    rows = [row for some, found in index.batches() for row in zip(some, found, strict=True)]
    copied = [vector.tolist() for passage, vector in rows if passage.id == "copy"]
    assert copied == [unit("one").tolist(), unit("two").tolist()]


def test_a_failure_keeps_what_was_reused(index: PassageIndex) -> None:
    with pytest.raises(InvalidInputError, match="'long' is too long"):
        index.update([replace(passages(1)[0], id="copy"), Passage("long", "word " * 100)])
    assert "copy" in index
    assert "long" not in index


def placed(source: str, count: int) -> list[Passage]:
    return [
        Passage(f"{source}#{n}", f"{source} {n}", "", PassagePlace(source, source, n).to_metadata())
        for n in range(count)
    ]


def test_passages_are_removed_by_source_and_document(embedder: FakeEmbedder) -> None:
    index = PassageIndex.build(embedder, [*placed("a.md", 3), *placed("b.md", 2), *passages(2)])
    assert index.remove(sources=["a.md"]) == RemovalReport(3, 1)
    assert index.remove(["0"], documents=["b.md", "c.md"]) == RemovalReport(3, 2, ("c.md",))
    assert [passage.id for passage in index.passages] == ["1"]
    assert index.remove() == RemovalReport()


@pytest.mark.parametrize("kind", ["ids", "sources", "documents"])
def test_one_name_in_place_of_a_list_is_refused(index: PassageIndex, kind: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"{kind}='0'; expected a list of {kind}"):
        index.remove(**{kind: "0"})
    assert len(index) == 10
