import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model.documents.document import Document
from onegen_model.documents.splitting import split
from onegen_model.places import PassagePlace


def count_words(text: str) -> int:
    return len(text.split())


def document(text: str, **fields: Any) -> Document:
    return Document("d", text, fields.pop("title", ""), "d.txt", "d.txt", **fields)


def test_what_fits_stays_whole() -> None:
    [passage] = split(document(" one\n\ntwo. three ", title="t", metadata={"a": 1}), count_words, 4)
    assert (passage.id, passage.text, passage.title) == ("d#0", "one\n\ntwo. three", "t")
    assert passage.metadata == {"a": 1, **PassagePlace("d.txt", "d").to_metadata()}


def test_splits_at_paragraphs_and_keeps_everything() -> None:
    paragraphs = [" ".join(f"w{n}{i}" for i in range(12)) + "." for n in range(9)]
    passages = split(document("\n\n".join(paragraphs), title="a title"), count_words, 30)
    assert [passage.text.split("\n\n") for passage in passages] == [
        paragraphs[n : n + 2] for n in range(0, 9, 2)
    ]
    assert [passage.id for passage in passages] == [f"d#{n}" for n in range(5)]
    assert {passage.title for passage in passages} == {"a title"}


def test_markdown_is_split_at_headings() -> None:
    sections = [f"## part {n}\n\n" + "word " * 10 for n in range(4)]
    text = "# all\n\n" + "\n\n".join(sections)
    passages = split(document(text, syntax="markdown"), count_words, 16)
    assert [passage.text.splitlines()[0] for passage in passages][-3:] == [
        "## part 1",
        "## part 2",
        "## part 3",
    ]


def test_a_heading_alone_is_no_passage() -> None:
    text = "# all\n\n## one\n\n" + "word " * 30
    passages = split(document(text, syntax="markdown"), count_words, 16)
    assert [passage.text.split()[0] for passage in passages] == ["word", "word"]
    outline = "\n\n".join(f"# part {n}" for n in range(9))
    assert len(split(document(outline, syntax="markdown"), count_words, 6)) == 5


def test_a_long_title_leaves_room_for_the_text() -> None:
    passages = split(document("word " * 50, title="title " * 100), count_words, 30)
    assert 0 < len(passages[0].title.split()) <= 10
    assert all(count_words(f"{p.title}\n{p.text}") <= 30 for p in passages)


@settings(max_examples=80, deadline=None)
@given(
    text=st.text(st.sampled_from("ab .\n\té漢🙂"), max_size=400),
    title=st.text(st.sampled_from("ab "), max_size=30),
    is_markdown=st.booleans(),
)
def test_passages_fit_and_lose_nothing(text: str, title: str, is_markdown: bool) -> None:
    def count_bytes(text: str) -> int:
        return len(text.encode())

    if not text.strip():
        return
    passages = split(
        document(text, title=title, syntax="markdown" if is_markdown else "text"), count_bytes, 24
    )
    for passage in passages:
        body = f"{passage.title}\n{passage.text}" if passage.title else passage.text
        assert count_bytes(body) <= 24
        assert passage.text.strip()
    joined = "".join(passage.text for passage in passages)
    assert "".join(joined.split()) == "".join(text.split())


def test_a_huge_line_is_split() -> None:
    text = " ".join(f"word{n}." for n in range(120_000))
    started = time.process_time()
    passages = split(document(text), count_words, 100)
    assert time.process_time() - started < 20
    assert sum(count_words(passage.text) for passage in passages) == 120_000
