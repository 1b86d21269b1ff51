"""OneGenTextSplitter: passages of LangChain's documents."""

import importlib
import sys
from pathlib import Path

import pytest
from langchain_core.documents import Document

from onegen_integrations.langchain import OneGenEmbeddings, OneGenTextSplitter, to_passage
from onegen_model import place_of
from onegen_model.errors import InvalidInputError, MissingExtraError

SENTENCES = " ".join(f"The mill has wheel {n}." for n in range(16))
HANDBOOK = f"# A\n\n## Leave\n\n{SENTENCES}\n\n## Rooms\n\n{SENTENCES}\n"


def test_pieces_are_passages_with_flat_metadata(embeddings: OneGenEmbeddings) -> None:
    splitter = OneGenTextSplitter(embeddings)
    document = Document(HANDBOOK, metadata={"source": "docs/handbook.md", "page": 3, "tags": ["a"]})
    pieces = splitter.split_documents([document])
    assert len(pieces) > 3
    for piece in pieces:
        assert embeddings.count_tokens(piece.page_content) <= embeddings.max_passage_tokens
        headings = piece.metadata["headings"]
        assert headings in ("A > Leave", "A > Rooms")
        passage = to_passage(piece)
        assert (passage.title, piece.metadata["title"]) == (headings, headings)
        assert HANDBOOK[piece.metadata["start_index"] :].startswith(passage.text)
        assert (piece.metadata["page"], piece.metadata["tags"]) == (3, ["a"])
    assert pieces[0].metadata["lines"] == "5"
    assert document.metadata == {"source": "docs/handbook.md", "page": 3, "tags": ["a"]}
    assert len(embeddings.embed_documents([piece.page_content for piece in pieces])) == len(pieces)


def test_metadata_that_a_document_has_is_kept(embeddings: OneGenEmbeddings) -> None:
    given = {"title": "B", "headings": "mine", "lines": 7, "source": "a.md"}
    [*pieces] = OneGenTextSplitter(embeddings).split_documents([Document(HANDBOOK, metadata=given)])
    assert all(given.items() <= piece.metadata.items() for piece in pieces)
    assert pieces[0].page_content.startswith("B > A > Leave\n")


def test_a_piece_that_is_split_again_does_not_begin_at_the_first_line(
    embeddings: OneGenEmbeddings,
) -> None:
    splitter = OneGenTextSplitter(embeddings)
    pieces = splitter.split_documents([Document(HANDBOOK, metadata={"source": "a.md"})])
    for again in splitter.split_documents(pieces[-1:]):
        place = place_of(to_passage(again))
        assert place
        assert place.lines is None
        assert again.metadata["lines"] == pieces[-1].metadata["lines"]


def test_the_syntax_is_given_or_that_of_the_file(embeddings: OneGenEmbeddings) -> None:
    text = f"# Mill\n\n{SENTENCES}"
    assert OneGenTextSplitter(embeddings).split_text(text)[0].startswith("# Mill")
    markdown = OneGenTextSplitter(embeddings, syntax="markdown").split_text(text)
    assert all(piece.startswith("Mill\nThe mill") for piece in markdown)


def test_the_length_is_that_of_the_model_or_less(embeddings: OneGenEmbeddings) -> None:
    pieces = OneGenTextSplitter(embeddings, chunk_size=20).split_text(SENTENCES)
    assert max(map(embeddings.count_tokens, pieces)) <= 20
    for wrong in (0, embeddings.max_passage_tokens + 1):
        with pytest.raises(InvalidInputError, match=f"chunk_size={wrong}; expected at most"):
            OneGenTextSplitter(embeddings, chunk_size=wrong)


def test_without_the_package_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.delitem(sys.modules, "onegen_integrations.langchain.text_splitters", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_text_splitters", None)
    package = importlib.import_module("onegen_integrations.langchain")
    with pytest.raises(MissingExtraError, match="pip install langchain-text-splitters"):
        _ = package.OneGenTextSplitter
    assert package.OneGenEmbeddings(model=folder)
