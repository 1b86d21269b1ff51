"""Text files that are read character for character."""

from pathlib import Path

import pytest

from onegen_model import Document, ReadingOptions, read_documents
from onegen_model.documents.digests import digest_of

AS_WRITTEN = ReadingOptions(as_written=True)


def read(path: Path, options: ReadingOptions = AS_WRITTEN) -> list[Document]:
    return list(read_documents([path], options=options))


@pytest.mark.parametrize(
    ("name", "text", "syntax"),
    [
        ("a.md", "---\ntitle: Moors\n---\n# Heath\r\n\rlast  ", "markdown"),
        ("a.rst", "Heath\n=====\n\n# a comment\n", "text"),
        ("a.csv", "name;year\r\nAda;1815\r\n", "text"),
        ("a.txt", "\n one\r\n\ttwo\r\x0b\u2028 \n", "text"),
        ("a.py", "x = 1\r\n", "code"),
        ("a.txt", "", "text"),
        ("a.md", " \n", "markdown"),
    ],
)
def test_every_character_is_kept(tmp_path: Path, name: str, text: str, syntax: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    [document] = read(path)
    assert (document.text, document.syntax, document.first_line) == (text, syntax, 1)
    path.write_bytes(text.encode("utf-8-sig"))
    assert [one.text for one in read(path)] == [text]  # A mark is no text.


def test_the_title_is_still_that_of_the_front_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("---\ntitle: Moors\n---\nheath\n")
    [document] = read(path)
    assert (document.title, document.metadata) == ("Moors", {"title": "Moors"})


def test_other_ways_of_reading_have_other_digests(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("---\ntitle: Moors\n---\nheath\n")
    [written], [usual] = read(path), read(path, ReadingOptions())
    assert written.digest == digest_of(path, AS_WRITTEN) != usual.digest == digest_of(path)


def test_records_are_their_texts_and_other_kinds_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\r\\n"}\n\n{"text": "", "id": "q"}\n')
    assert [(one.id, one.text) for one in read(path)] == [("a.jsonl:1", "one\r\n"), ("q", "")]
    pytest.importorskip("markitdown")
    path = tmp_path / "a.html"
    path.write_text("<p>one <b>two</b></p>")
    assert [one.text for one in read(path)] == ["one **two**"]
