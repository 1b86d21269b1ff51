"""Names of entities: what counts as the same, how alike two are, and where an index finds them."""

from time import process_time

import pytest

from onegen_model.events import Passage
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.names import name_similarity, normal_name
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexes import ids, passages, query


@pytest.mark.parametrize(
    ("surface", "name"),
    [
        ("ADA  Lovelace", "Ada Lovelace"),
        ("Washington D.C.", "Washington, D.C."),
        ("Sao Tome", "São Tomé"),
        ("елка", "Ёлка"),
        ("istanbul", "İstanbul"),
        ("\uff21\uff22\uff23", "abc"),
        ("東京", "東京"),
        ("Jean\u2010Luc", "Jean-Luc"),
        ("!!!", "!!!"),
    ],
)
def test_case_accents_and_punctuation_do_not_matter(surface: str, name: str) -> None:
    assert normal_name(surface) == normal_name(name)
    assert name_similarity(surface, Passage("1", "a text", name)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    # Marks that make another word: a vowel sign, a virama, a voiced sound.
    [("हिन्दी", "हिन्द"), ("क", "क्"), ("か", "が"), ("!!!", "???"), ("Ada", "Adam")],
)
def test_other_words_are_other_names(one: str, other: str) -> None:
    assert normal_name(one) != normal_name(other)
    assert name_similarity(one, Passage("1", other)) == 0


def test_a_name_without_its_qualifier_is_almost_the_same() -> None:
    for title in ("Paris (Texas)", "Paris, Texas", "Paris\uff08\u30c6\uff09"):
        assert 0.8 < name_similarity("paris", Passage("1", "city", title)) < 1
    part = name_similarity("Lovelace", Passage("1", "a text", "Ada Lovelace"))
    assert 0 < part < name_similarity("Ada Lovelace", Passage("1", "a text", "Ada King Lovelace"))
    assert name_similarity("(", Passage("1", "()")) == 0
    # A bracket inside of a name, or one that is never closed, is no qualifier.
    assert name_similarity("Run", Passage("1", "song", "Run (again) now")) < 0.5
    assert name_similarity("Run", Passage("1", "song", "Run (again")) < 0.5


def test_an_accent_alone_is_not_the_empty_name() -> None:
    # Acute accent and diaeresis: their compatible forms are a space with an accent to leave out.
    acute, diaeresis = "\u00b4", "\u00a8"
    for name, aliases in ((diaeresis, []), ("Ada", [""]), ("Ada", ["  "])):
        assert name_similarity(acute, Passage("1", "a text", name, {"aliases": aliases})) == 0
    assert name_similarity(acute, Passage("1", "a text", acute)) == 1
    index = PassageIndex.build(FakeEmbedder(), [Passage("1", "a text", "Ada", {"aliases": [""]})])
    assert index.named([query(acute)]) == [[]]


@pytest.mark.parametrize(
    "name", ["a" + " " * 20_000 + "b", "(" * 100_000, "(" * 10_000 + ")" * 10_000 + "x"]
)
def test_a_very_long_name_takes_no_longer_than_its_length(name: str) -> None:
    begun = process_time()
    assert name_similarity("Ada", Passage("1", "a text", name)) == 0
    assert (
        process_time() - begun < 2
    )  # Half a minute, where each place is tried with all behind it.


def test_the_nearest_name_of_an_entity_counts() -> None:
    metadata = {"name": "Lion", "aliases": ["King of beasts", 7], "other": "Tiger"}
    lion = Passage("1", "comic", "Lion (comics)", metadata)
    assert name_similarity("Lion", lion) == name_similarity("king of beasts", lion) == 1
    assert name_similarity("Tiger", lion) == 0
    # Metadata of other kinds are no names.
    assert name_similarity("7", Passage("1", "seven", "", {"name": 7, "aliases": "7"})) == 0


def test_an_index_finds_all_that_have_a_name() -> None:
    named = [
        Passage("far", "zzz", "Paris"),
        Passage("near", "Paris"),
        Passage("alias", "xyz", "Lutetia", {"aliases": ["PARIS"], "lang": "la"}),
    ]
    index = PassageIndex.build(FakeEmbedder(), [*passages(20), *named])
    asked = [query("Paris"), query("London"), query("paris", exclude=("far",))]
    found = index.named(asked)
    assert [sorted(ids(one)) for one in found] == [["alias", "far", "near"], [], ["alias", "near"]]
    assert found[0] == index.rank([asked[0].embedding], [["far", "near", "alias"]])[0]
    assert ids(index.named([query("paris", filter={"lang": "la"})])[0]) == ["alias"]


def test_names_follow_every_change_of_the_index() -> None:
    index = PassageIndex.build(FakeEmbedder(), passages(20))

    def known(name: str) -> list[str]:
        return ids(index.named([query(name)])[0])

    assert known("title 3") == ["3"]
    index.add([Passage("new", "text", "Title 3")])
    assert sorted(known("title 3")) == ["3", "new"]
    index.delete(["3"])
    assert known("title 3") == ["new"]
    index.add([Passage("new", "text", "Title 3", {"name": "Renamed"})])
    assert known("renamed") == ["new"]
    index.add([Passage("new", "text", "Other")])
    assert known("title 3") == known("renamed") == []
    assert known("other") == ["new"]
    index.delete([str(one) for one in range(12)])  # so many that their rows are removed
    assert known("title 13") == ["13"]
    assert known("title 5") == []
