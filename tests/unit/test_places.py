from dataclasses import replace
from typing import Any

import pytest

from onegen_model import Passage
from onegen_model.places import (
    PassageNames,
    PassagePlace,
    held_ids,
    place_of,
    with_pieces,
    with_place,
)


def test_a_place_comes_back_from_the_metadata_beside_the_users_own() -> None:
    place = PassagePlace("docs/a.md", "docs/a.md", 2, 5, ("One", "Two"), (3, 4), (10, 12), (0, 9))
    passage = Passage(place.passage_id, "text", metadata={"source": "mine", **place.to_metadata()})
    assert passage.id == "docs/a.md#2"
    assert place_of(passage) == place
    assert passage.metadata["source"] == "mine"


def test_what_is_unknown_is_left_out() -> None:
    plain = PassagePlace("a.txt", "a.txt").to_metadata()
    assert plain == {"onegen": {"source": "a.txt", "document": "a.txt", "chunk": 0, "chunks": 1}}


def test_the_metadata_of_release_0_1_is_understood() -> None:
    old = Passage("a.txt#3", "text", metadata={"source": "/docs/a.txt", "chunk": 3})
    assert place_of(old) == PassagePlace("/docs/a.txt", "a.txt", 3, chunks=0)


def test_other_metadata_is_no_place() -> None:
    for metadata in ({}, {"source": "a"}, {"source": "a", "chunk": 1}, {"onegen": {"chunk": 1}}):
        assert place_of(Passage("a#2", "text", metadata=metadata)) is None


@pytest.mark.parametrize(
    "kept",
    [
        {"chunk": "a"},
        {"chunks": None},
        {"pages": [1]},
        {"lines": "12"},
        {"span": 5},
        {"span": ["a", "b"]},
        {"headings": 3},
        {"pieces": [1]},
        {"digest": 7},
        {"document": 5},
    ],
)
def test_a_damaged_place_is_none(kept: dict[str, Any]) -> None:
    metadata = {"onegen": {"source": "a.md", "document": "a.md", **kept}}
    assert place_of(Passage("a.md#0", "text", metadata=metadata)) is None


def named(*places: PassagePlace) -> PassageNames:
    return PassageNames(
        [Passage(place.passage_id, "text", "", place.to_metadata()) for place in places]
    )


def test_passages_are_found_by_id_document_and_file() -> None:
    names = named(
        PassagePlace("docs/a.md", "A"), PassagePlace("docs/a.md", "A", 1), PassagePlace("b.md", "B")
    )
    assert names.find("A#1") == ("A#1",)
    assert names.find("A") == ("A#0", "A#1")
    assert names.find("docs/a.md") == names.find("./docs\\a.md") == ("A#0", "A#1")
    assert names.find("a.md") == ("A#0", "A#1")
    assert names.find("c.md") == ()
    assert names.nearest("docs/aa.md") == "docs/a.md"
    assert names.nearest("zzzzzz") is None


def test_the_end_of_a_path_must_belong_to_one_file() -> None:
    names = named(PassagePlace("x/a.md", "X"), PassagePlace("y/a.md", "Y"))
    assert names.find("a.md") == ()
    assert names.find("x/a.md") == ("X#0",)


def test_a_joined_passage_holds_the_ids_of_its_pieces() -> None:
    place = PassagePlace("a.md", "a.md", 1, 3)
    passage = Passage(place.passage_id, "text", metadata={"own": 1, **place.to_metadata()})
    joined = with_place(passage, replace(place, pieces=("a.md#0", "a.md#1")))
    assert joined.metadata["own"] == 1
    assert held_ids([joined, passage]) == ("a.md#1", "a.md#0")
    assert held_ids([with_pieces(Passage("y", "text"), ("x", "y"))]) == ("y", "x")
    assert held_ids([Passage("y", "text", metadata={"onegen": {"pieces": "x"}})]) == ("y",)
    assert held_ids([Passage("y", "text", metadata={"onegen": "x"})]) == ("y",)
