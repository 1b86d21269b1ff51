from pathlib import Path

import pytest
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import MetadataMode

from onegen_integrations.llama_index import OneGenEmbedding, OneGenReader, PassageParser
from onegen_model import PassageSplitter, UnreadableFilesError, place_of, read_documents
from tests.support import office_files


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nyear: 2024\ntags: [old, dry]\n---\n# A\n\ntext")
    (docs / "b.txt").write_text("more")
    return docs


def test_documents_keep_their_ids_and_metadata(docs: Path) -> None:
    reader = OneGenReader()
    assert isinstance(reader, BaseReader)
    first, second = reader.load_data(docs)
    assert (first.id_, first.text) == ("docs/a.md", "# A\n\ntext")
    shown = {name: value for name, value in first.metadata.items() if name != "onegen"}
    given = {"year": 2024, "tags": "old, dry"}
    assert shown == {"source": "docs/a.md", "title": "A", **given}
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert "onegen" not in first.get_content(mode)
    assert (second.id_, second.text) == ("docs/b.txt", "more")
    assert [one.id_ for one in reader.load_data([docs / "b.txt"])] == ["b.txt"]


def test_nodes_of_files_are_the_passages_of_the_core(
    docs: Path, embedding: OneGenEmbedding
) -> None:
    (docs / "c.py").write_text("def one():\n    return 1\n\n\n" * 9)
    office_files.write_pptx(docs / "d.pptx")
    splitter = PassageSplitter.for_model(embedding.shared.model)
    core = [one for document in read_documents([docs]) for one in splitter.split(document)]
    nodes = PassageParser(embedding)(OneGenReader().load_data(docs))
    assert [node.get_content(MetadataMode.EMBED) for node in nodes] == [
        one.titled_text for one in core
    ]
    for node, passage in zip(nodes, core, strict=True):
        place = place_of(passage)
        assert place
        assert node.metadata.get("page") == (place.pages[0] - 1 if place.pages else None)
        if place.lines and place.chunks > 1:
            assert node.metadata["lines"] == "-".join(map(str, dict.fromkeys(place.lines)))


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
