import gzip
import json
import logging
from pathlib import Path

import pytest

from onegen_model import Passage
from onegen_model.documents.document import Document
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.documents.reading import read_file
from onegen_model.errors import InvalidInputError
from onegen_model.retrieval.index import PassageIndex
from tests.support.fake_embedder import FakeEmbedder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_all(paths: list[str]) -> list[Document]:
    """As `onegen index` reads them."""
    found = find_files(paths)
    warn_of_skipped(found)
    return [document for file in found.files for document in read_file(file, Path())]


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
