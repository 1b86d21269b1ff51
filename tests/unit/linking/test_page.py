"""The page of linked texts, read back by the parser of the standard library."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_model.events import Passage, ScoredPassage
from onegen_model.linking.formats import LinkedDocument
from onegen_model.linking.mentions import LinkedText, Mention
from onegen_model.linking.page import entity_url, linked_page

_VOID = {"meta"}


class Page(HTMLParser):
    """The texts of the page without their cards, the cards, the links, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.cards: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = {"tag": tag, **dict(attrs)}
        if found.get("class") == "text":
            self.texts.append("")
        elif found.get("class") == "card":
            self.cards.append("")
        elif tag == "a":
            self.links.append((str(found["href"]), ""))
        if tag not in _VOID:
            self.open.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        classes = [one.get("class") for one in self.open]
        if "card" in classes:
            self.cards[-1] += data
        elif "text" in classes:
            self.texts[-1] += data
            if self.open[-1]["tag"] == "a":
                href, text = self.links.pop()
                self.links.append((href, text + data))


def candidate(identifier: str, name: str, text: str = "", score: float = 0.5) -> ScoredPassage:
    return ScoredPassage(Passage(identifier, text or name, name if text else ""), score)


def document(text: str, *mentions: Mention, source: str | None = None) -> LinkedDocument:
    return LinkedDocument(source or "text 1", source, LinkedText(text, mentions))


def mention(text: str, start: int, end: int, *found: ScoredPassage, nil: bool = False) -> Mention:
    best = found[0] if found else None
    entity, score = None if nil else best, best.score if best else None
    return Mention(start, end, text[start:end], entity, score, found)


def test_mentions_are_links_with_their_candidates() -> None:
    text = "Adams saw Bob in Rome."
    adams = candidate("Q42", "Douglas Adams", "English writer", 0.71234)
    other = candidate("W:John Adams", "John Adams", "president")
    own = candidate("my:rome", "Rome")
    html = linked_page(
        [
            document(
                text,
                mention(text, 0, 5, adams, other),
                mention(text, 10, 13, adams, nil=True),
                mention(text, 17, 21, own),
            )
        ]
    )
    page = Page(html)
    assert page.texts == [text]
    assert page.links == [("https://www.wikidata.org/wiki/Q42", "Adams")]
    assert page.cards == [
        "Douglas Adams Q42 0.712English writerJohn Adams W:John Adams 0.500president",
        "no entityDouglas Adams Q42 0.712English writer",
        "Rome my:rome 0.500",
    ]
    assert html.count('tabindex="0"') == 2  # those without a link
    assert '<div class="text" dir="auto" lang="">' in html


def test_the_page_needs_nothing_else() -> None:
    page = Page(linked_page([document("a", source="a.txt"), document("b", source="b.txt")]))
    assert page.texts == ["a", "b"]
    assert not {"script", "link", "img", "iframe", "object"} & {*page.tags}
    assert "default-src 'none'" in linked_page([])


def test_nothing_of_a_text_or_an_entity_is_markup() -> None:
    evil = "\"><script>alert(1)</script><b x='&amp;"
    entity = candidate(f"Q1{evil}", evil, f"{evil}{evil}")
    html = linked_page([document(evil, mention(evil, 2, 12, entity), source=evil)], title=evil)
    page = Page(html)
    assert page.texts == [evil]
    assert evil in page.cards[0]
    assert not {"script", "b"} & {*page.tags}
    wiki = candidate(f"W:{evil}", "x")
    page = Page(linked_page([document(evil, mention(evil, 2, 12, wiki))]))
    [(href, surface)] = page.links
    assert surface == evil[2:12]
    assert href.startswith("https://en.wikipedia.org/wiki/%22%3E%3Cscript%3E")


def test_texts_of_any_direction_and_line_end_are_kept() -> None:
    text = "\n\nعمر الخيام\r\nولد في נישאפור\rשלם\t \u2028\u200b e\u0301"
    page = Page(linked_page([document(text, mention(text, 2, 12, candidate("Q35900", "عمر")))]))
    assert page.texts == [text]
    assert page.links == [("https://www.wikidata.org/wiki/Q35900", text[2:12])]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
       st.integers(0, 30), st.integers(1, 30))  # fmt: skip
def test_every_text_can_be_read_from_the_page(text: str, start: int, length: int) -> None:
    end = min(start + length, len(text))
    found = [mention(text, start, end, candidate("Q1", text or "x"))] if start < end else []
    assert Page(linked_page([document(text, *found)])).texts == ([text] if text else [""])


@pytest.mark.parametrize(
    ("identifier", "url"),
    [
        ("Q42", "https://www.wikidata.org/wiki/Q42"),
        ("W:AC/DC (band)", "https://en.wikipedia.org/wiki/AC%2FDC_(band)"),
        ("W:Jørn Utzon", "https://en.wikipedia.org/wiki/J%C3%B8rn_Utzon"),
        ("W:", None),
        ("W: ", None),
        ("Q0", None),
        ("Q42x", None),
        ("Q٤٢", None),
        ("javascript:alert(1)", None),
        ("https://example.org", None),
    ],
)
def test_the_address_of_an_entity(identifier: str, url: str | None) -> None:
    assert entity_url(identifier) == url
