import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from onegen_integrations.langchain import (
    OneGenEmbeddings,
    OneGenLoader,
    OneGenTextSplitter,
    to_passage,
)
from onegen_model import (
    PassageSplitter,
    ReadingOptions,
    UnreadableFilesError,
    place_of,
    read_documents,
)
from tests.support import office_files


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nyear: 2024\n---\n# A\n\ntext")
    given = {"source": "mine", "list": ["a"], "mixed": ["a", 1], "deep": {"b": 1}}
    row = {"text": "record", "id": "r1", "metadata": given}
    (docs / "b.jsonl").write_text(json.dumps(row))
    office_files.write_pptx(docs / "c.pptx")
    return docs


def test_documents_have_flat_metadata(docs: Path) -> None:
    loader = OneGenLoader(docs)
    assert isinstance(loader, BaseLoader)
    page, record, slides = loader.load()
    assert page.id == "docs/a.md"
    assert shown(page) == {"source": "docs/a.md", "title": "A", "year": 2024}
    assert (record.id, record.page_content) == ("r1", "record")
    assert shown(record) == {
        "source": "mine",
        "list": ["a"],
        "mixed": '["a", 1]',
        "deep": '{"b": 1}',
    }
    assert shown(slides) == {"source": "docs/c.pptx", "title": "Spring", "pages": 2}


def test_pages_can_be_documents(docs: Path) -> None:
    first, second = OneGenLoader([docs / "c.pptx"], root=docs.parent, by_page=True).load()
    assert first.page_content == "# Spring\nRepair the pier"
    place = {"page": 0, "page_label": "1", "pages": 2}
    assert shown(first) == {"source": "docs/c.pptx", "title": "Spring", **place}
    assert (second.id, second.metadata["page"]) == ("docs/c.pptx:p2", 1)


@pytest.mark.parametrize("by_page", [False, True])
def test_passages_of_loaded_files_are_those_of_the_core(
    docs: Path, embeddings: OneGenEmbeddings, by_page: bool
) -> None:
    (docs / "d.py").write_text("def one():\n    return 1\n\n\n" * 9)
    (docs / "e.csv").write_text("name,wheels\n" + "mill,3\n" * 30)
    files = [docs / name for name in ("a.md", "c.pptx", "d.py", "e.csv")]
    splitter = PassageSplitter.for_model(embeddings.shared.model)
    core = [one for document in read_documents(files) for one in splitter.split(document)]
    loaded = OneGenLoader(files, by_page=by_page).load()
    pieces = OneGenTextSplitter(embeddings).split_documents(loaded)
    assert [piece.page_content for piece in pieces] == [one.titled_text for one in core]
    for piece, passage in zip(pieces, core, strict=True):
        place, found = place_of(passage), place_of(to_passage(piece))
        assert place
        assert found
        assert (place.lines, place.source) == (found.lines, found.source)
        if place.pages:
            assert piece.metadata["page"] == place.pages[0] - 1
            assert piece.metadata["page_label"] == str(place.pages[0])


def test_a_text_that_was_changed_after_loading_has_no_lines(
    docs: Path, embeddings: OneGenEmbeddings
) -> None:
    [document] = OneGenLoader(docs / "a.md").load()
    document.page_content = "# A\n\n## B\n\n" + "The mill has a wheel. " * 20
    pieces = OneGenTextSplitter(embeddings).split_documents([document])
    assert {piece.metadata["headings"] for piece in pieces} == {"A > B"}
    assert not any("lines" in piece.metadata for piece in pieces)


def shown(document: Document) -> dict[str, Any]:
    """The metadata without what is meant for the splitter."""
    return {name: value for name, value in document.metadata.items() if name != "onegen"}


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
