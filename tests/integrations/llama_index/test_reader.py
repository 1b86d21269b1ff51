from pathlib import Path

import pytest
from llama_index.core.readers.base import BaseReader

from onegen_integrations.llama_index import OneGenReader
from onegen_model import UnreadableFilesError


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nyear: 2024\n---\n# A\n\ntext")
    (docs / "b.txt").write_text("more")
    return docs


def test_documents_keep_their_ids_and_metadata(docs: Path) -> None:
    reader = OneGenReader()
    assert isinstance(reader, BaseReader)
    first, second = reader.load_data(docs)
    assert (first.id_, first.text) == ("docs/a.md", "# A\n\ntext")
    assert first.metadata == {"source": "docs/a.md", "title": "A", "year": 2024}
    assert (second.id_, second.text) == ("docs/b.txt", "more")
    assert [one.id_ for one in reader.load_data([docs / "b.txt"])] == ["b.txt"]


def test_files_are_read_when_it_is_their_turn(docs: Path) -> None:
    documents = iter(OneGenReader().lazy_load_data(docs))
    next(documents)
    (docs / "b.txt").write_text("changed")
    assert next(documents).text == "changed"


def test_bad_files_fail_at_the_end_or_are_skipped(docs: Path) -> None:
    (docs / "c.txt").write_bytes(b"\0")
    with pytest.raises(UnreadableFilesError, match=r"c\.txt"):
        OneGenReader().load_data(docs)
    reader = OneGenReader(skip_bad=True)
    assert len(reader.load_data(docs)) == 2
    assert [failure.path.name for failure in reader.failures] == ["c.txt"]
