"""Several vector stores searched as one."""

from array import array

import pytest

from onegen_integrations.server import Serving
from onegen_integrations.server.errors import NotFoundError, ParameterError
from onegen_integrations.server.stores.merging import MergedIndexes
from onegen_integrations.server.stores.names import INDEX_STORE
from onegen_model import (
    NeighbourRetriever,
    OneGenModel,
    Passage,
    PassageIndex,
    PassagePlace,
    Query,
    Retriever,
)


def passage(document: str, chunk: int, text: str) -> Passage:
    place = PassagePlace("a.md", document, chunk, 2)
    return Passage(place.passage_id, text, "", place.to_metadata())


@pytest.fixture
def merged(model: OneGenModel) -> MergedIndexes:
    one = [passage("vs_1/f", 0, "Alba is a town."), passage("vs_1/f", 1, "Ann was born there.")]
    two = [passage("vs_2/f", 0, "Alba is a town."), passage("vs_2/f", 1, "Brig is a ship.")]
    return MergedIndexes(
        {"vs_1": PassageIndex.build(model, one), "vs_2": PassageIndex.build(model, two)}
    )


def query(model: OneGenModel, text: str, top_k: int, exclude: tuple[str, ...] = ()) -> Query:
    return Query(array("f", model.embed_queries([text])[0]), text, top_k, exclude=exclude)


def test_the_best_of_all_stores_are_found_once(model: OneGenModel, merged: MergedIndexes) -> None:
    assert isinstance(merged, Retriever)
    assert isinstance(merged, NeighbourRetriever)
    (found,) = merged.retrieve([query(model, "Where?", 4)])
    assert {hit.passage.text for hit in found} == {
        "Alba is a town.",
        "Ann was born there.",
        "Brig is a ship.",
    }
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    every = [
        hit.score
        for one in merged.indexes.values()
        for hit in one.retrieve([query(model, "Where?", 4)])[0]
    ]
    assert found[0].score == max(every)


def test_a_text_that_was_read_in_another_store_is_not_found_again(
    model: OneGenModel, merged: MergedIndexes
) -> None:
    (found,) = merged.retrieve([query(model, "Where?", 2, ("vs_1/f#0",))])
    assert sorted(hit.passage.id for hit in found) == ["vs_1/f#1", "vs_2/f#1"]


def test_neighbours_are_those_of_the_same_store(model: OneGenModel, merged: MergedIndexes) -> None:
    asked = query(model, "Where?", 1)
    last = merged.get("vs_2/f#1")
    assert last is not None
    assert [one.id for one in merged.neighbours(last, 1, asked)] == ["vs_2/f#0", "vs_2/f#1"]


def test_stores_are_named_by_requests(model: OneGenModel, index: PassageIndex) -> None:
    serving = Serving({"tiny": model}, index)
    assert serving.retriever(None) is serving.retriever([INDEX_STORE, INDEX_STORE]) is index
    assert Serving({"tiny": model}).retriever(None) is None
    with pytest.raises(NotFoundError, match="vs_other") as unknown:
        serving.retriever([INDEX_STORE, "vs_other"])
    assert unknown.value.param == "vector_store_ids"
    with pytest.raises(ParameterError, match="at least one"):
        serving.retriever([])
