"""Linked texts as text and as JSON."""

from onegen_model.events import Passage, ScoredPassage
from onegen_model.linking.formats import (
    LinkedDocument,
    format_text,
    marked_text,
    mention_table,
)
from onegen_model.linking.mentions import LinkedText, Mention

ADA = ScoredPassage(Passage("Q7259", "mathematician", "Ada Lovelace"), 0.8123)
KYOTO = ScoredPassage(Passage("Q34600", "京都市"), 0.5)


def linked(text: str, *found: tuple[str, ScoredPassage | None]) -> LinkedText:
    mentions = []
    for surface, best in found:
        start = text.index(surface)
        score, candidates = (best.score, (best,)) if best else (None, ())
        end = start + len(surface)
        mentions.append(Mention(start, end, surface, best, score, candidates))
    return LinkedText(text, tuple(mentions))


TEXT = linked("Ada saw 京都\r\nand [Bob].", ("Ada", ADA), ("京都", KYOTO), ("Bob", None))


def test_mentions_are_marked_and_listed() -> None:
    assert marked_text(TEXT) == "[Ada](1) saw [京都](2)\r\nand [[Bob](3)]."
    assert mention_table(TEXT.mentions) == [
        "   mention  entity        id      score",
        "1  Ada      Ada Lovelace  Q7259   0.812",
        "2  京都     京都市        Q34600  0.500",
        "3  Bob      (no entity)",
    ]
    assert mention_table([]) == ["(no mentions)"]


def test_the_line_end_of_a_text_is_not_shown_as_an_empty_line() -> None:
    document = LinkedDocument("a", None, LinkedText("Ada.\n", ()))
    assert format_text(document, named=False) == "Ada.\n\n(no mentions)\n"


def test_long_names_are_cut_and_ids_are_not() -> None:
    name, identifier = "n\n" * 60, "W:" + "x" * 60
    entity = ScoredPassage(Passage(identifier, "about", name), 1.0)
    [_, row] = mention_table(linked("Ada", ("Ada", entity)).mentions)
    assert row == f"1  Ada      {'n ' * 19}n…  {identifier}  1.000"
    wide = ScoredPassage(Passage("Q1", "京" * 60), 1.0)
    [_, row] = mention_table(linked("Ada", ("Ada", wide)).mentions)
    assert row == f"1  Ada      {'京' * 19}…  Q1  1.000"


def test_a_document_has_its_name_where_there_are_several() -> None:
    document = LinkedDocument("docs/a.txt", "docs/a.txt", LinkedText("Nobody.", ()))
    assert format_text(document, named=False) == "Nobody.\n\n(no mentions)\n"
    assert format_text(document, named=True).startswith("== docs/a.txt ==\nNobody.\n")
    names = [("r.jsonl:3", "r.jsonl", "r.jsonl:3"), ("q1", "r.jsonl", "r.jsonl: q1"),
             ("text 1", None, "text 1")]  # fmt: skip
    for identifier, source, name in names:
        assert LinkedDocument(identifier, source, TEXT).name == name


def test_the_json_form_is_that_of_the_linked_text_with_its_source() -> None:
    plain = LinkedDocument("r.jsonl:3", "r.jsonl", TEXT).to_dict()
    assert (plain["source"], plain["id"]) == ("r.jsonl", "r.jsonl:3")
    assert LinkedText.from_dict(plain) == TEXT
