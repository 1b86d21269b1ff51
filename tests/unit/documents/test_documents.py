import gzip
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model import Passage
from onegen_model.documents.document import Document
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.documents.reading import read_file
from onegen_model.documents.splitting import split
from onegen_model.errors import InvalidInputError
from onegen_model.places import PassagePlace
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder


def count_words(text: str) -> int:
    return len(text.split())


def document(text: str, **fields: Any) -> Document:
    return Document("d", text, fields.pop("title", ""), "d.txt", "d.txt", **fields)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_all(paths: list[str]) -> list[Document]:
    """As `onegen index` reads them."""
    found = find_files(paths)
    warn_of_skipped(found)
    return [document for file in found.files for document in read_file(file, Path())]


# --- reading ---


def test_reads_every_kind(here: Path) -> None:
    docs = here / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "b.txt").write_bytes("\ufeffGrüße\r\nzwei".encode())
    (docs / "a.md").write_text("```\n# no\n```\n\n## The *title* ##\n\ntext")
    rows = [{"text": "one", "title": "1", "id": 7, "metadata": {"k": [1]}}, {"text": "two"}]
    (docs / "deep" / "c.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (docs / "d.JSONL.GZ").write_bytes(gzip.compress(json.dumps({"text": "zip"}).encode()))
    found = {doc.id: doc for doc in read_all(["docs"])}
    assert list(found) == [
        "docs/a.md",
        "docs/b.txt",
        "docs/d.JSONL.GZ:1",
        "7",
        "docs/deep/c.jsonl:2",
    ]
    assert found["docs/a.md"].title == "The *title*"
    assert found["docs/a.md"].syntax == "markdown"
    assert (found["docs/b.txt"].text, found["docs/b.txt"].title) == ("Grüße\nzwei", "b")
    assert (found["7"].title, found["7"].metadata) == ("1", {"k": [1]})
    assert found["7"].source == "docs/deep/c.jsonl"
    assert found["docs/deep/c.jsonl:2"].title == ""


def test_ids_do_not_depend_on_how_a_path_is_written(here: Path) -> None:
    (here / "docs").mkdir()
    (here / "docs" / "a.txt").write_text("a")
    for path in ("docs", "./docs", here / "docs", "docs/a.txt", "docs/../docs"):
        assert [doc.id for doc in read_all([path])] == ["docs/a.txt"]
    assert len(read_all(["docs", "docs/a.txt"])) == 1


def test_skips_hidden_unknown_and_empty_files_and_indexes(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (".git/x.txt", ".hidden.txt", "photo.jpg", "more/table.csv", "ok.txt"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("text")
    (here / "empty.txt").write_text(" \n")
    PassageIndex(FakeEmbedder()).save(here / "my.index")
    with caplog.at_level(logging.WARNING):
        assert [doc.id for doc in read_all(["."])] == ["ok.txt"]
    assert "2 files of unknown kind were skipped" in caplog.text
    assert "empty.txt is empty" in caplog.text
    assert [file.name for file in find_files(["."]).skipped] == ["photo.jpg", "table.csv"]
    with pytest.raises(InvalidInputError, match=r"my\.index is an index"):
        find_files(["my.index"])


def test_a_manifest_of_another_program_hides_no_document(here: Path) -> None:
    for name, manifest in (("app", '{"name": "an extension"}'), ("odd", "[1]"), ("torn", "{")):
        (here / name).mkdir()
        (here / name / "manifest.json").write_text(manifest)
        (here / name / "readme.md").write_text("read me")
        assert [doc.id for doc in read_all([name])] == [f"{name}/readme.md"]
    assert len(read_all(["."])) == 3
    index = here / "torn" / "my.index"
    PassageIndex.build(FakeEmbedder(), [Passage("a", "text")]).save(index)
    (index / "manifest.json").write_text("{")
    (index / "notes.txt").write_text("not a document")
    assert len(read_all(["."])) == 3


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"first\n\xff\xfe\x00", r"a\.txt:2 is not text; expected UTF-8 text"),
        ("a.md", b"fine\nzero \x00 byte", r"a\.md:2 is not text"),
        ("a.txt", "utf-16".encode("utf-16"), r"a\.txt:1 is not text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', r"a\.jsonl:2 is not JSON"),
        ("a.jsonl", b"[1]", r"a\.jsonl:1 is a list; expected"),
        ("a.jsonl", b'{"title": "a"}', r"a\.jsonl:1 has no text"),
        ("a.jsonl", b'{"text": 5}', r"a\.jsonl:1 has no text"),
        ("a.jsonl", b'{"text": "a", "title": 5}', "has the title 5"),
        ("a.jsonl", b'{"text": "a", "metadata": "x"}', "has the metadata 'x'"),
        ("a.jsonl", b'{"text": "a", "id": ""}', "has the id ''"),
        ("a.jsonl", b'{"text": "a", "id": 1.5}', "has the id 1.5"),
        ("a.jsonl", rb'{"text": "\ud800"}', "is not JSON of UTF-8 text"),
        ("a.jsonl", b"[" * 100_000, "is not JSON"),
        ("a.jsonl.gz", b"plain", r"a\.jsonl\.gz cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}' * 99, mtime=0)[:-12], "cannot be read"),
        ("a.pdf", b"%PDF", r"a\.pdf is of an unknown kind; expected UTF-8 text in \.txt"),
    ],
)
def test_bad_files(here: Path, name: str, content: bytes, complaint: str) -> None:
    (here / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=complaint):
        read_all([name])


def test_bad_paths(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "other").mkdir()
    (here / "other" / "a.jpg").write_text("x")
    (here / "broken.txt").symlink_to("nowhere")
    for path in ("empty", "other"):
        with pytest.raises(InvalidInputError, match=f"The folder {path} holds no documents"):
            read_all([path])
    for path in ("missing", "missing.txt", "broken.txt"):
        with pytest.raises(InvalidInputError, match=f"There is no file or folder {path}"):
            read_all([path])
    (here / "empty" / "broken.txt").symlink_to("nowhere")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_all(["empty"])


# --- splitting ---


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
