"""PassageSplitter: where a document is cut, and the title and the place of each passage."""

from typing import Any

import pytest

from onegen_model import Passage
from onegen_model.documents.document import Document
from onegen_model.documents.splitting import PassageSplitter, splitting_digest
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage as PlainPassage
from onegen_model.places import PassagePlace, place_of


def count_words(text: str) -> int:
    return len(text.split())


def document(text: str, **fields: Any) -> Document:
    return Document("d", text, fields.pop("title", ""), "d.txt", "d.txt", **fields)


def split(text: str, longest: int, **fields: Any) -> list[Passage]:
    fields = {"syntax": "markdown", **fields}
    return PassageSplitter(count_words, longest).split(document(text, **fields))


def place(passage: Passage) -> PassagePlace:
    found = place_of(passage)
    assert found is not None
    return found


def sentences(count: int, words: str = "of the mill") -> str:
    return " ".join(f"Sentence {n} tells {words}." for n in range(count))


# --- text ---


def test_what_fits_stays_whole() -> None:
    [passage] = split(" one\n\ntwo. three ", 4, title="t", metadata={"a": 1}, syntax="text")
    assert (passage.id, passage.text, passage.title) == ("d#0", "one\n\ntwo. three", "t")
    assert passage.metadata == {"a": 1, **PassagePlace("d.txt", "d", span=(1, 16)).to_metadata()}


def test_text_is_split_at_paragraphs() -> None:
    paragraphs = [" ".join(f"w{n}{i}" for i in range(12)) + "." for n in range(9)]
    passages = split("\n\n".join(paragraphs), 30, title="a title", syntax="text")
    assert [passage.text.split("\n\n") for passage in passages] == [
        paragraphs[n : n + 2] for n in range(0, 9, 2)
    ]
    assert [passage.id for passage in passages] == [f"d#{n}" for n in range(5)]
    assert {passage.title for passage in passages} == {"a title"}


@pytest.mark.parametrize("syntax", ["text", "markdown", "code"])
def test_a_long_title_leaves_room_for_the_text(syntax: str) -> None:
    passages = split("word " * 50, 30, title="title " * 100, syntax=syntax)
    assert 0 < len(passages[0].title.split()) <= 10
    assert all(count_words(passage.titled_text) <= 30 for passage in passages)


@pytest.mark.parametrize("syntax", ["text", "markdown", "code"])
@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_white_space_is_no_passage(text: str, syntax: str) -> None:
    assert split(text, 30, syntax=syntax) == []


# --- headings ---

HANDBOOK = f"""# Handbook

## Leave

### Parental leave

{sentences(12)}

### Sick leave

Call in.

### Other leave

Ask first.

## Ruling

{sentences(12)}
"""


def test_every_piece_of_a_section_has_the_way_through_the_headings() -> None:
    passages = split(HANDBOOK, 30, title="Handbook")
    assert [passage.title for passage in passages] == [
        *["Handbook > Leave > Parental leave"] * 3,
        "Handbook > Leave",
        *["Handbook > Ruling"] * 3,
    ]
    assert " ".join(passage.text for passage in passages[:3]).split() == sentences(12).split()
    assert place(passages[0]).headings == ("Handbook", "Leave", "Parental leave")


def test_small_sections_of_one_heading_share_a_passage_with_their_headings() -> None:
    packed = split(HANDBOOK, 30, title="Handbook")[3]
    assert packed.text == "### Sick leave\n\nCall in.\n\n### Other leave\n\nAsk first."
    assert place(packed).headings == ("Handbook", "Leave")
    other = split("# A\n\n## B\n\none two\n\n# C\n\nthree four\n\n# D\n\n" + sentences(9), 30)
    assert (other[0].title, other[0].text) == ("", "# A\n\n## B\n\none two\n\n# C\n\nthree four")
    assert (other[1].title, other[1].text) == ("D", sentences(4))


def test_a_section_of_some_length_has_a_passage_and_a_title_of_its_own() -> None:
    parts = "\n\n".join(f"## Part {n}\n\n{sentences(2)}" for n in range(3))
    passages = split(f"# Book\n\n{parts}", 30, title="Book")
    assert [(passage.title, passage.text) for passage in passages] == [
        (f"Book > Part {n}", sentences(2)) for n in range(3)
    ]


def test_the_title_of_a_document_is_not_repeated() -> None:
    [passage] = split("# The *title*\n\nIt is short.", 30, title="The *title*")
    assert (passage.title, passage.text) == ("The title", "It is short.")
    [passage] = split("# Book of mills\n\nIt is short.", 30, title="Book")
    assert (passage.title, passage.text) == ("Book of mills", "It is short.")
    [passage] = split("# Part\n\nIt is short.", 30, title="Book")
    assert (passage.title, passage.text) == ("Book > Part", "It is short.")


def test_headings_without_text_go_with_their_neighbours() -> None:
    text = f"# A\n\n## Empty\n\n## B\n\n{sentences(9)}\n\n## C\n\n{sentences(9)}\n\n## Last\n"
    passages = split(text, 24)
    assert passages[0].text.startswith("## Empty\n\nSentence 0")
    assert passages[0].title == "A > B"
    assert passages[-1].text.endswith("## Last")
    assert not any(
        passage.text.startswith("#") and "\n" not in passage.text for passage in passages
    )
    assert all(count_words(passage.titled_text) <= 24 for passage in passages)


def test_an_outline_is_passages_of_several_headings() -> None:
    outline = "\n\n".join(f"# part {n}" for n in range(8))
    passages = split(outline, 9)
    assert "\n\n".join(passage.text for passage in passages) == outline
    assert all("\n" in passage.text for passage in passages)


def test_a_heading_that_the_title_leaves_out_is_in_the_text() -> None:
    middle = "a long heading of nine words that takes room"
    text = f"# Book\n\n## {middle}\n\n### End\n\n{sentences(6)}"
    first, *others = split(text, 30, title="Book")
    assert first.title == "Book > … > End"
    assert first.text.startswith(f"## {middle}\n\nSentence 0")
    assert all(middle not in passage.text for passage in others)
    linked = split(f"# See [this](http://x.example/a)\n\n{sentences(6)}", 24)
    assert linked[0].title == "See this"
    assert linked[0].text.startswith("# See [this](http://x.example/a)\n\nSentence 0")


def test_headings_of_both_forms_and_none_in_code() -> None:
    text = f"Part\n====\n\n```\n# no\n```\n\n{sentences(6)}\n\nOther\n-----\n\n{sentences(6)}"
    passages = split(text, 20)
    assert {passage.title for passage in passages} == {"Part", "Part > Other"}
    assert passages[0].text.startswith("```\n# no\n```")


# --- blocks ---


def test_a_table_keeps_its_header_and_its_rows() -> None:
    rows = [f"| Person {n} | R{n} |" for n in range(9)]
    text = "\n".join(["Rooms:", "", "| Name | Room |", "|------|-----:|", *rows])
    passages = split(text, 40)
    assert passages[0].text.startswith("Rooms:\n\n| Name | Room |")
    assert all("| Name | Room |\n|--|--:|\n| Person" in passage.text for passage in passages)
    lines = [line for passage in passages for line in passage.text.splitlines()]
    assert [line for line in lines if "Person" in line] == rows


def test_a_row_that_is_too_long_is_cut_at_cells() -> None:
    text = f"| Name | Tale | Year |\n|---|---|---|\n| Ann | {'word ' * 40}| 1921 |\n| B | x | 7 |\n"
    passages = split(text, 24)
    assert passages[0].text == "Name: Ann"
    assert passages[1].text.startswith("Tale: word word")
    assert passages[2].text.startswith("Tale: word word")
    assert passages[2].text.endswith("\nYear: 1921")
    assert passages[3].text.endswith("| B | x | 7 |")


def test_a_wide_table_names_each_value() -> None:
    names = " | ".join(f"column {n}" for n in range(12))
    values = " | ".join(f"v{n}" for n in range(12))
    passages = split(f"| {names} |\n|{'-|' * 12}\n| {values} |\n", 30)
    assert passages[0].text.splitlines()[:2] == ["column 0: v0", "column 1: v1"]
    assert sum(passage.text.count(": v") for passage in passages) == 12


def test_code_is_cut_at_blank_lines_and_fenced_again() -> None:
    functions = [f"def f{n}():\n    a = {n}\n    return a + 1" for n in range(6)]
    text = "Use:\n\n```python\n" + "\n\n".join(functions) + "\n```\n\nDone."
    passages = split(text, 30)
    fenced = [passage.text for passage in passages if "def" in passage.text]
    assert all("```python\ndef" in text and text.count("```") == 2 for text in fenced)
    assert all(any(function in text for text in fenced) for function in functions)
    [whole] = [one for one in split(text, 60) if "f0" in one.text]
    assert all(function in whole.text for function in functions)


def test_a_fence_without_code_and_a_rule_are_no_passages() -> None:
    assert split("```\n```\n\n***\n\n-\n", 30) == []
    passages = split(f"```python\n```\n\n{sentences(9)}\n\n```\n", 20)
    assert not any("```" in passage.text for passage in passages)


def test_list_items_stay_whole_and_nested_ones_lose_their_indentation() -> None:
    items = [f"- item {n} has six words here" for n in range(6)]
    passages = split("\n".join(items), 20)
    assert [passage.text.splitlines() for passage in passages] == [items[:2], items[2:4], items[4:]]
    nested = f"- outer\n  - {sentences(2)}\n  - inner\n    more of it\n"
    last = split(nested, 13)[-1]
    assert last.text == "- inner\n  more of it"


def test_quotes_and_html_are_cut_at_their_parts() -> None:
    quote = "\n>\n".join(f"> line {n} of a quote with words" for n in range(6))
    assert all(passage.text.startswith("> line") for passage in split(quote, 20))
    html = "<div>\n" + "\n".join(f"<p>line {n} of the page</p>" for n in range(9)) + "\n</div>"
    assert "\n".join(passage.text for passage in split(html, 20)) == html


def test_code_files_are_cut_at_definitions_and_keep_their_indentation() -> None:
    text = (
        "import os\n\ndef a():\n    x = 1\n\n    return x\n\n\nclass B:\n    def m(self):\n"
        "        return 1\n\n    def n(self):\n        return 2\n"
    )
    assert [passage.text for passage in split(text, 13, title="a.py", syntax="code")] == [
        "import os\n\ndef a():\n    x = 1\n\n    return x",
        "class B:\n    def m(self):\n        return 1\n\n    def n(self):\n        return 2",
    ]
    passages = split(text, 9, title="a.py", syntax="code")
    assert passages[-1].text == "    def n(self):\n        return 2"
    assert {passage.title for passage in passages} == {"a.py"}


# --- places ---


def test_a_place_has_lines_pages_and_span() -> None:
    text = f"# One\n\n{sentences(3)}\n\n# Two\n\n{sentences(3)}\n\nLast words here."
    pages = (0, text.index("# Two"), text.index("Last"))
    passages = split(text, 24, first_line=4, pages=pages, metadata={"source": "own"}, digest="x")
    assert [place(passage).lines for passage in passages] == [(6, 6), (10, 12)]
    assert [place(passage).pages for passage in passages] == [(1, 1), (2, 3)]
    for passage in passages:
        start, end = place(passage).span or (0, 0)
        assert text[start:end] == passage.text
        assert passage.metadata["source"] == "own"
        assert place(passage).digest == splitting_digest("x", 24)
    assert place(split(text, 20)[0]).lines is None
    assert place(split(text, 20)[0]).pages is None
    record = split("one two\nthree four\nfive", 3, first_line=7, on_one_line=True)
    assert [place(passage).lines for passage in record] == [(7, 7)] * len(record)


def test_the_digest_tells_content_and_length() -> None:
    assert splitting_digest("a", 128) == splitting_digest("a", 128)
    assert len({splitting_digest(*one) for one in (("a", 128), ("b", 128), ("a", 64))}) == 3
    assert splitting_digest("", 128) == ""


def test_the_form_of_the_model_counts() -> None:
    def form(passage: PlainPassage) -> str:
        return f"Title: {passage.title} Text: {passage.text} end of it"

    splitter = PassageSplitter(count_words, 20, form)
    passages = splitter.split(document("word " * 50, title="t", syntax="markdown"))
    assert {count_words(form(passage)) for passage in passages[:-1]} == {20}


def test_a_length_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_tokens=0; expected at least 1"):
        PassageSplitter(count_words, 0)


@pytest.mark.parametrize("empty", ["*", "> ", "* \n  - ", "| |\n|-|\n| |", "_", "=", "```\n```"])
def test_a_heading_over_nothing_but_markup_stays(empty: str) -> None:
    [only] = PassageSplitter(count_words, 24).split(document(f"# part\n{empty}"))
    assert "part" in only.titled_text
