import json
from pathlib import Path

import pytest
from langchain_core.document_loaders import BaseLoader

from onegen_integrations.langchain import OneGenLoader
from onegen_model import ReadingOptions, UnreadableFilesError
from tests.support import office_files


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nyear: 2024\n---\n# A\n\ntext")
    row = {"text": "record", "id": "r1", "metadata": {"source": "mine"}}
    (docs / "b.jsonl").write_text(json.dumps(row))
    office_files.write_pptx(docs / "c.pptx")
    return docs


def test_documents_have_flat_metadata(docs: Path) -> None:
    loader = OneGenLoader(docs)
    assert isinstance(loader, BaseLoader)
    page, record, slides = loader.load()
    assert (page.id, page.metadata) == (
        "docs/a.md",
        {"source": "docs/a.md", "title": "A", "year": 2024},
    )
    assert (record.id, record.page_content) == ("r1", "record")
    assert record.metadata == {"source": "mine"}
    assert slides.metadata == {"source": "docs/c.pptx", "title": "Spring", "pages": 2}


def test_pages_can_be_documents(docs: Path) -> None:
    first, second = OneGenLoader([docs / "c.pptx"], root=docs.parent, by_page=True).load()
    assert first.page_content == "# Spring\nRepair the pier"
    assert first.metadata == {"source": "docs/c.pptx", "title": "Spring", "page": 1, "pages": 2}
    assert (second.id, second.metadata["page"]) == ("docs/c.pptx:p2", 2)


def test_bad_files_fail_at_the_end_or_are_skipped(docs: Path) -> None:
    (docs / "bad.txt").write_bytes(b"\0")
    options = ReadingOptions(include=["*.txt", "*.md"])
    seen = []
    with pytest.raises(UnreadableFilesError, match=r"bad\.txt"):
        seen.extend(OneGenLoader(docs, options=options).lazy_load())
    assert len(seen) == 1
    loader = OneGenLoader(docs, options=options, skip_bad=True)
    assert len(loader.load()) == len(loader.load()) == 1
    assert [failure.path.name for failure in loader.failures] == ["bad.txt"]
