import gzip
import json
import logging
import pickle
from pathlib import Path

import pytest

from onegen_model import (
    Document,
    FailedFile,
    ReadingOptions,
    UnreadableFilesError,
    digest_of,
    read_documents,
)
from onegen_model.documents.reading import read_file
from onegen_model.errors import InvalidInputError


def read_one(path: Path, text: str | bytes, options: ReadingOptions | None = None) -> Document:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (document,) = read_documents([path], options=options)
    return document


def test_reads_every_kind_of_text(here: Path) -> None:
    docs = here / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "b.txt").write_bytes("\ufeffGrüße\r\nzwei".encode())
    (docs / "a.md").write_text("```\n# no\n```\n\n## The *title* ##\n\ntext")
    (docs / "e.py").write_text("# a comment\nprint(1)\n")
    (docs / "LICENSE").write_text("Do what you like.")
    rows = [{"text": "one", "title": "1", "id": 7, "metadata": {"k": [1]}}, {"text": "two"}]
    (docs / "deep" / "c.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (docs / "d.JSONL.GZ").write_bytes(gzip.compress(json.dumps({"text": "zip"}).encode()))
    found = {doc.id: doc for doc in read_documents(["docs"])}
    assert list(found) == [
        "docs/LICENSE",
        "docs/a.md",
        "docs/b.txt",
        "docs/d.JSONL.GZ:1",
        "docs/e.py",
        "7",
        "docs/deep/c.jsonl:2",
    ]
    assert found["docs/a.md"].title == "The *title*"
    assert found["docs/a.md"].syntax == "markdown"
    assert (found["docs/b.txt"].text, found["docs/b.txt"].title) == ("Grüße\nzwei", "b")
    assert (found["docs/e.py"].syntax, found["docs/e.py"].title) == ("code", "e.py")
    assert found["docs/LICENSE"].syntax == "text"
    assert (found["7"].title, found["7"].metadata) == ("1", {"k": [1]})
    assert (found["7"].source, found["7"].first_line) == ("docs/deep/c.jsonl", 1)
    assert found["7"].on_one_line
    assert found["docs/deep/c.jsonl:2"].title == ""
    assert found["docs/deep/c.jsonl:2"].place == "docs/deep/c.jsonl:2"


def test_ids_do_not_depend_on_how_a_path_is_written(here: Path) -> None:
    (here / "docs").mkdir()
    (here / "docs" / "a.txt").write_text("a")
    for path in ("docs", "./docs", here / "docs", "docs/a.txt", "docs/../docs"):
        assert [doc.id for doc in read_documents([path], root=here)] == ["docs/a.txt"]
    assert len(list(read_documents(["docs", "docs/a.txt"]))) == 1
    assert [doc.id for doc in read_documents(["docs/a.txt"])] == ["a.txt"]


def test_two_files_of_one_source_are_an_error(here: Path) -> None:
    for name in ("x", "y"):
        (here / name).mkdir()
        (here / name / "a.txt").write_text(name)
    with pytest.raises(InvalidInputError, match=r"y/a\.txt and x/a\.txt have the same source"):
        read_documents(["x/a.txt", "y/a.txt"])
    assert len(list(read_documents(["x/a.txt", "y/a.txt"], root="."))) == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.md", b"fine\nzero \x00 byte", "not text .a zero byte in line 2"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is not JSON"),
        ("a.jsonl", b"[1]", "line 1 is a list; expected"),
        ("a.jsonl", b'{"title": "a"}', "line 1 has no text"),
        ("a.jsonl", b'{"text": 5}', "line 1 has no text"),
        ("a.jsonl", b'{"text": "a", "title": 5}', "has the title 5"),
        ("a.jsonl", b'{"text": "a", "metadata": "x"}', "has the metadata 'x'"),
        ("a.jsonl", b'{"text": "a", "id": ""}', "has the id ''"),
        ("a.jsonl", b'{"text": "a", "id": 1.5}', "has the id 1.5"),
        ("a.jsonl", b'{"text": "a", "metadata": {"k": 1}, "k": 2}', "has 'k' twice"),
        ("a.jsonl", b'{"text": "a", "metadata": {"onegen": 1}}', "kept for the place"),
        ("a.jsonl", b'{"text": "a", "onegen": 1}', "kept for the place"),
        ("a.jsonl", rb'{"text": "\ud800"}', "is not JSON of UTF-8 text"),
        ("a.jsonl", b"[" * 100_000, "is not JSON"),
        ("a.jsonl", b'{"text": "\xe9"}', "it is not text in utf-8"),
        ("a.jsonl.gz", b"plain", "it is damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}' * 99, mtime=0)[:-12], "it is damaged"),
        ("a.md", b"---\nonegen: 1\n---\ntext", "front matter has 'onegen'"),
    ],
)
def test_bad_files(here: Path, name: str, content: bytes, reason: str) -> None:
    (here / name).write_bytes(content)
    (here / "good.txt").write_text("good")
    with pytest.raises(UnreadableFilesError, match=reason) as raised:
        list(read_file(Path(name)))
    assert str(raised.value).startswith(f"{name}: ")
    failures: list[FailedFile] = []
    found = list(read_documents(["."], on_failure=failures.append))
    assert [doc.title for doc in found] == ["good"]
    assert [failure.path.name for failure in failures] == [name]


def test_all_bad_files_are_named_in_one_error(here: Path) -> None:
    for number in range(25):
        (here / f"bad{number:02}.txt").write_bytes(b"\0")
    (here / "good.txt").write_text("good")
    read: list[Document] = []
    with pytest.raises(UnreadableFilesError, match="25 files cannot be read") as raised:
        read.extend(read_documents(["."]))
    assert len(read) == 1
    assert len(raised.value.failures) == 25
    message = str(raised.value)
    assert "bad19.txt" in message
    assert "bad20.txt" not in message
    assert "and 5 more" in message
    assert pickle.loads(pickle.dumps(raised.value)).failures == raised.value.failures


def test_empty_files_are_skipped_with_a_message(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "empty.txt").write_text(" \n")
    (here / "ok.txt").write_text("text")
    with caplog.at_level(logging.WARNING):
        assert [doc.title for doc in read_documents(["."])] == ["ok"]
    assert "empty.txt is empty" in caplog.text


# --- records ---


def test_records_of_beir_and_flash_rag(here: Path) -> None:
    rows = [
        {"_id": "b1", "title": "T", "text": "beir", "metadata": {"url": "u"}},
        {"id": "f1", "contents": '"The Door"\nIt is blue.'},
        {"id": "f2", "contents": "no title\nhere"},
        {"text": "t", "metadata": {"source": "mine", "chunk": 3}, "year": 2020},
    ]
    (here / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    beir, titled, plain, own = read_documents(["c.jsonl"])
    assert (beir.id, beir.title, beir.metadata) == ("b1", "T", {"url": "u"})
    assert (titled.id, titled.title, titled.text) == ("f1", "The Door", "It is blue.")
    assert (plain.title, plain.text) == ("", "no title\nhere")
    assert own.metadata == {"source": "mine", "chunk": 3, "year": 2020}
    assert own.id == "c.jsonl:4"


def test_a_long_line_of_a_packed_file_fails_early(here: Path) -> None:
    (here / "bomb.jsonl.gz").write_bytes(gzip.compress(b" " * 5_000_000))
    options = ReadingOptions(max_text_characters=1000)
    with pytest.raises(UnreadableFilesError, match="line 1 has more than 1000 characters"):
        list(read_documents(["bomb.jsonl.gz"], options=options))


# --- markup ---


def test_front_matter_becomes_metadata(here: Path) -> None:
    text = (
        "---\ntitle: A title\ndate: 2024-05-01\ntags: [a, b]\ndraft: false\nnested: {a: 1}\n"
        "empty:\n---\n# Heading\n\ntext\n"
    )
    document = read_one(here / "a.md", text)
    assert document.title == "A title"
    assert document.text == "# Heading\n\ntext\n"
    assert document.first_line == 9
    assert document.metadata == {
        "title": "A title",
        "date": "2024-05-01",
        "tags": ["a", "b"],
        "draft": False,
    }


@pytest.mark.parametrize("text", ["---\nno: [end\n---\nx", "---\n- a\n---\nx", "---\nx\n\n---\n"])
def test_what_is_no_front_matter_stays_in_the_text(here: Path, text: str) -> None:
    document = read_one(here / "a.md", text)
    assert (document.text, document.first_line, document.metadata) == (text, 1, {})


def test_sections_of_rst_keep_their_lines(here: Path) -> None:
    text = (
        "=======\nThe Top\n=======\n\nText.\n\nPart one\n--------\n\n::\n\n  # no heading\n\n"
        "Part two\n--------\n\nDeeper\n~~~~~~\n\n----\n\nend\n"
    )
    document = read_one(here / "a.rst", text)
    lines = document.text.split("\n")
    assert len(lines) == len(text.split("\n"))
    assert [(n, line) for n, line in enumerate(lines, 1) if line.startswith("#")] == [
        (2, "# The Top"),
        (7, "## Part one"),
        (14, "## Part two"),
        (17, "### Deeper"),
    ]
    assert lines[11] == "    # no heading"
    assert lines[19] == "----"
    assert (document.title, document.first_line, document.syntax) == ("The Top", 1, "markdown")


def test_a_csv_becomes_a_table_whatever_its_delimiter(here: Path) -> None:
    for delimiter in ",;\t|":
        text = f'a{delimiter}b\n1{delimiter}"x{delimiter} y"\n\n2{delimiter}"two\nlines"\n'
        document = read_one(here / "t.csv", text)
        cell = f"x{delimiter} y".replace("|", "\\|").replace("\t ", "\t ")
        assert document.text == f"| a | b |\n| --- | --- |\n| 1 | {cell} |\n| 2 | two lines |"
        assert (document.title, document.first_line) == ("t", None)


# --- digests and options ---


def test_the_digest_tells_what_would_be_read_differently(here: Path) -> None:
    path = here / "a.txt"
    document = read_one(path, "one")
    assert document.digest == digest_of(path)
    assert len(document.digest) >= 16
    (here / "b.txt").write_text("one")
    assert digest_of(here / "b.txt") == digest_of(path)
    (here / "a.md").write_text("one")
    other = [
        digest_of(here / "a.md"),
        digest_of(path, ReadingOptions(encoding="cp1252")),
        read_one(path, "two").digest,
    ]
    assert len({document.digest, *other}) == 4
    with pytest.raises(UnreadableFilesError, match=r"gone\.txt"):
        digest_of(here / "gone.txt")


def test_limits_are_named(here: Path) -> None:
    (here / "a.txt").write_text("x" * 100)
    for options in (ReadingOptions(max_file_bytes=99), ReadingOptions(max_text_characters=99)):
        with pytest.raises(UnreadableFilesError, match=r"a\.txt: it.* 99 "):
            list(read_documents(["a.txt"], options=options))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"encoding": "klingon"}, "There is no text encoding 'klingon'"),
        ({"encoding": "base64"}, "There is no text encoding 'base64'"),
        ({"include": "*.md"}, "include is '\\*.md'; expected a list"),
        ({"exclude": [3]}, "exclude has a pattern"),
        ({"max_file_bytes": 0}, "max_file_bytes is 0"),
        ({"convert_seconds": -1}, "convert_seconds is -1"),
        ({"max_text_characters": "9"}, "max_text_characters is '9'"),
    ],
)
def test_bad_options(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        ReadingOptions(**options)  # type: ignore[arg-type]
