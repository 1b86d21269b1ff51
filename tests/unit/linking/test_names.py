"""`name_weight`: names of entities beside the cosines of their embeddings."""

import asyncio
from array import array
from dataclasses import replace
from typing import Any

import pytest

from onegen_model import (
    LinkingParams,
    Mention,
    OneGenModel,
    Passage,
    PassageIndex,
    ScoredPassage,
)
from onegen_model.linking.search import FoundMention, Search, search
from onegen_model.retrieval.names import name_similarity
from tests.support.linking_model import ENTITIES, TEXT, linking_model

SPANS = [(TEXT.index(name), TEXT.index(name) + len(name)) for name in ("Alan Turing", "Danube")]
ALONE = LinkingParams(mentions=SPANS, name_weight=0)
NAMED = replace(ALONE, name_weight=3)  # no cosine weighs more


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


@pytest.fixture(scope="module")
def entities(model: OneGenModel) -> PassageIndex:
    """So many that most are too far to be found; the farthest are called as the mentions are."""
    others = [Passage(f"X{n}", f"thing number {n}", f"Thing {n}") for n in range(60)]
    index = PassageIndex.build(model, [*others, *ENTITIES[:3]])
    everything = replace(ALONE, num_candidates=63)
    for mention in model.link(TEXT, entities=index, linking=everything).mentions:
        far = mention.candidates[-1].passage
        index.add([replace(far, metadata={"aliases": [mention.surface.upper()], "far": True})])
    return index


def ids(mention: Mention) -> list[str]:
    return [one.passage.id for one in mention.candidates]


def test_entities_with_the_name_come_first_wherever_their_vectors_are(
    model: OneGenModel, entities: PassageIndex
) -> None:
    alone = model.link(TEXT, entities=entities, linking=ALONE).mentions
    named = model.link(TEXT, entities=entities, linking=NAMED).mentions
    everything = model.link(TEXT, entities=entities, linking=replace(ALONE, num_candidates=63))
    for one, other, whole in zip(alone, named, everything.mentions, strict=True):
        far = whole.candidates[-1]
        assert far.passage.metadata["far"]
        # The others are still the nearest ones, and each score holds what the name adds.
        assert ids(other) == [far.passage.id, *ids(one)[:4]]
        assert other.entity == other.candidates[0]
        assert other.score == pytest.approx(far.score + 3, abs=1e-6)
        assert [hit.score for hit in other.candidates[1:]] == pytest.approx(
            [hit.score for hit in one.candidates[:4]], abs=1e-6
        )


def test_the_order_is_that_of_the_sum(model: OneGenModel, entities: PassageIndex) -> None:
    everything = model.link(TEXT, entities=entities, linking=replace(ALONE, num_candidates=63))
    for weight in (0.01, 0.2, 1):
        params = replace(ALONE, name_weight=weight, num_candidates=63)
        for one, plain in zip(
            model.link(TEXT, entities=entities, linking=params).mentions,
            everything.mentions,
            strict=True,
        ):
            sums = {
                hit.passage.id: hit.score + weight * name_similarity(one.surface, hit.passage)
                for hit in plain.candidates
            }
            assert [hit.score for hit in one.candidates] == pytest.approx(
                sorted(sums.values(), reverse=True), abs=1e-6
            )
            assert sorted(ids(one)) == sorted(ids(plain))


def test_the_nil_threshold_is_one_of_the_sum(model: OneGenModel, entities: PassageIndex) -> None:
    named = model.link(TEXT, entities=entities, linking=NAMED).mentions
    for one in named:
        for least, is_nil in ((one.score - 1e-3, False), (one.score + 1e-3, True)):
            params = replace(NAMED, nil_threshold=least)
            found = model.link(TEXT, entities=entities, linking=params).mentions
            [same] = [other for other in found if other.start == one.start]
            assert (same.entity is None) == is_nil


def test_candidates_of_each_mention_are_all_reordered(
    model: OneGenModel, entities: PassageIndex
) -> None:
    far = [one.id for one in entities.passages if "far" in one.metadata]
    listed = [one.id for one in entities.passages if "far" not in one.metadata]
    params = replace(NAMED, candidates=[[*listed, *far], listed])
    first, second = model.link(TEXT, entities=entities, linking=params).mentions
    assert ids(first)[0] in far
    assert len(ids(first)) == len(ids(second)) == 5
    assert not {*ids(second)} & {*far}  # they have the name, and are not in the list
    one_list = replace(NAMED, candidates=[*listed, *far])
    found = model.link(TEXT, entities=entities, linking=one_list).mentions
    assert {ids(one)[0] for one in found} == {*far}


def test_a_filter_holds_for_names_too(model: OneGenModel, entities: PassageIndex) -> None:
    for wanted in ({"far": True}, {"$not": {"far": True}}):
        params = replace(NAMED, filter=wanted)
        for one in model.link(TEXT, entities=entities, linking=params).mentions:
            assert {"far" in hit.passage.metadata for hit in one.candidates} == {"far" in wanted}


def test_batches_streams_and_async_have_the_same_names(
    model: OneGenModel, entities: PassageIndex
) -> None:
    first, second = model.link([TEXT, TEXT], entities=entities, linking=[NAMED, ALONE])
    assert ["far" in one.entity.passage.metadata for one in first.mentions] == [True, True]
    assert ["far" in one.entity.passage.metadata for one in second.mentions] == [False, False]
    again = asyncio.run(model.alink(TEXT, entities=entities, linking=NAMED))
    assert [ids(one) for one in again.mentions] == [ids(one) for one in first.mentions]
    stream = model.stream_link(TEXT, entities=entities, linking=NAMED)
    assert [ids(one) for one in stream] == [ids(one) for one in first.mentions]


class Foreign:
    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[int] = []

    def retrieve(self, queries: Any) -> list[list[ScoredPassage]]:
        self.asked += [one.top_k for one in queries]
        chosen = [ENTITIES[0], ENTITIES[3], ENTITIES[1]]
        hits = [ScoredPassage(*pair) for pair in zip(chosen, self.scores, strict=True)]
        return [hits for _ in queries]


def best(entities: Foreign, weight: float = 0.2) -> str:
    mention = FoundMention(0, 11, "Alan Turing", array("f", [1.0]))
    wanted = Search((mention,), ("Alan Turing",), (LinkingParams(name_weight=weight),))
    [found] = search(wanted, entities)
    assert found.score == found.candidates[0].score
    return ids(found)[0]


def test_names_reorder_what_another_retriever_finds_by_its_scores() -> None:
    assert best(Foreign(0.6, 0.5, 0.4)) == "Q4"
    assert best(Foreign(0.8, 0.5, 0.4)) == "Q1"
    assert best(Foreign(0.6, 0.5, 0.4), weight=0) == "Q1"
    # Distances, scores that are no numbers or not known: the order is not that of the scores.
    assert best(Foreign(0.0, 0.0, 0.0)) == "Q1"
    assert best(Foreign(0.4, 0.5, 0.6)) == "Q1"
    assert best(Foreign(0.6, float("nan"), 0.4)) == "Q1"


def test_more_are_asked_for_than_are_reported_only_where_names_count() -> None:
    entities = Foreign(0.6, 0.5, 0.4)
    best(entities), best(entities, weight=0)
    assert entities.asked == [20, 5]


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), True, "0.2", None])
def test_a_weight_is_a_number(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"name_weight=.*; expected a number of at least 0"):
        LinkingParams(name_weight=weight)
