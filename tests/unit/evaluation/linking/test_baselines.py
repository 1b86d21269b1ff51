"""Systems that link by names and words."""

import pytest

from onegen_model import Passage
from onegen_model.evaluation.linking.baselines import (
    ByBm25,
    ByName,
    EntityList,
    queries,
    sentence_around,
)
from onegen_model.evaluation.linking.documents import LinkingDocument
from onegen_model.linking.entities import entity_passage
from onegen_model.retrieval.bm25 import Bm25

RECORDS = (
    {"id": "Q1", "name": "Lion", "wiki_title": "Lion (comics)", "description": "British comic"},
    {"id": "Q2", "name": "Lion", "description": "large cat of savanna grassland in Africa"},
    {"id": "Q3", "name": "Tiger"},
    {"id": "Q4", "name": "Comic relief", "description": "British charity"},
)
TEXT = "The lion lives in the grassland of Africa. British people read a comic."
LION, COMIC = (4, 8), (65, 70)
DOCUMENT = LinkingDocument("one", TEXT, ())


@pytest.fixture(scope="module")
def entities() -> EntityList:
    return EntityList([entity_passage(one) for one in RECORDS])


def best(found: list) -> list[str | None]:
    return [hits[0][0] if hits else None for hits in found]


def test_a_name_is_that_of_the_entity_or_of_its_title(entities: EntityList) -> None:
    name = ByName(entities)
    assert best(name.link(DOCUMENT, [LION], [["Q1", "Q3"]])) == ["Q1"]
    assert best(name.link(DOCUMENT, [LION], [["Q3", "Q4", "unknown"]])) == [None]
    assert best(name.link(DOCUMENT, [LION, COMIC], None))[1] is None
    title = LinkingDocument("two", "Lion (comics)", ())
    assert best(name.link(title, [(0, 13)], None)) == ["Q1"]


def test_chance_decides_among_equals_and_not_the_order(entities: EntityList) -> None:
    name = ByName(entities)
    chosen = set()
    for number in range(20):
        document = LinkingDocument(str(number), TEXT, ())
        [one] = best(name.link(document, [LION], [["Q1", "Q2"]]))
        assert [one] == best(name.link(document, [LION], [["Q2", "Q1"]]))
        chosen.add(one)
    assert chosen == {"Q1", "Q2"}


def test_shared_words_decide_among_equal_names(entities: EntityList) -> None:
    words = ByName(entities, counts_words=True)
    assert list(entities.count_shared(TEXT)) == [3, 3, 0, 2]
    document = LinkingDocument("two", TEXT.replace("British", "Many"), ())
    assert best(words.link(document, [LION], None)) == ["Q2"]
    assert best(words.link(document, [LION], [["Q1", "Q2", "Q4"]])) == ["Q2"]


def test_without_an_equal_name_shared_words_decide_alone(entities: EntityList) -> None:
    words = ByName(entities, counts_words=True)
    document = LinkingDocument("two", "A British charity", ())
    assert best(words.link(document, [(2, 9)], None)) == ["Q4"]
    assert best(words.link(document, [(2, 9)], [["Q1", "Q3"]])) == ["Q1"]
    assert best(words.link(document, [(2, 9)], [["unknown"]])) == [None]


def test_bm25_is_asked_with_the_mention_and_its_sentence(entities: EntityList) -> None:
    bm25 = ByBm25(entities, Bm25(entities.entities))
    assert best(bm25.link(DOCUMENT, [LION, COMIC], None)) == ["Q2", "Q1"]
    assert best(bm25.link(DOCUMENT, [LION, COMIC], [["Q1", "Q3"], ["Q3"]])) == ["Q1", None]
    assert best(bm25.link(DOCUMENT, [LION], [[]])) == [None]


def test_the_sentence_is_the_one_around_the_span() -> None:
    assert list(queries(DOCUMENT, [LION, COMIC])) == [
        "lion: The lion lives in the grassland of Africa.",
        "comic: British people read a comic.",
    ]
    assert sentence_around("One. Two.\nThree", (5, 15)) == "Two. Three"
    assert sentence_around("Alone", (0, 5)) == "Alone"


def test_an_entity_without_a_title_has_its_text_as_name() -> None:
    entities = EntityList([Passage("Q5", "Danube")])
    document = LinkingDocument("one", "the Danube", ())
    assert best(ByName(entities).link(document, [(4, 10)], None)) == ["Q5"]
