"""PassageParser and OneGenEmbedding: the text of a document that is embedded and read."""

import asyncio
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, Settings
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import MetadataMode, NodeRelationship

from onegen_integrations.llama_index import OneGenEmbedding, PassageParser
from onegen_integrations.llama_index.passage_parser import to_passage
from onegen_model import OneGenModel, Passage
from onegen_model.errors import InvalidInputError

TEXT = " ".join(
    f"Sentence {n} tells of the mill in Zürich, its {n} wheels, and Straße {n * 7}."
    for n in range(12)
)


def nodes_of(embedding: OneGenEmbedding, *documents: Document, **options: Any) -> list[Any]:
    return list(PassageParser(embedding, **options).get_nodes_from_documents(list(documents)))


def test_a_node_is_embedded_and_read_as_title_and_text(
    embedding: OneGenEmbedding, model: OneGenModel
) -> None:
    document = Document(text="It has a mill.", metadata={"title": "Alba", "source": "a.txt"})
    [node] = nodes_of(embedding, document)
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert node.get_content(mode) == "Alba\nIt has a mill."
    assert {"title": "Alba", "source": "a.txt"}.items() <= node.metadata.items()
    assert node.text == "It has a mill."
    assert node.relationships[NodeRelationship.SOURCE].node_id == document.id_
    trained = Passage("x", "It has a mill.", "Alba")
    assert model.renderer.frame_ids(to_passage(node)) == model.renderer.frame_ids(trained)
    [row] = model.embed_passages([trained])
    [piped] = IngestionPipeline(
        transformations=[PassageParser(embedding), embedding], disable_cache=True
    ).run(documents=[document])
    assert np.allclose(piped.embedding, row, atol=1e-6)


def test_without_a_title_a_passage_is_the_text_alone(embedding: OneGenEmbedding) -> None:
    [node] = nodes_of(embedding, Document(text="It has a mill.", metadata={"page": 3}))
    assert node.get_content(MetadataMode.EMBED) == "It has a mill."


@pytest.mark.parametrize("title", ["", "Alba", "The mill that stands where the Zürich river turns"])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 40}])
def test_no_node_is_longer_than_a_passage_and_nothing_is_lost(
    title: str, options: dict[str, Any], embedding: OneGenEmbedding, capsys: Any
) -> None:
    metadata = {"title": title} if title else {}
    document = Document(text=TEXT, metadata=metadata)
    before = document.model_dump()
    nodes = nodes_of(embedding, document, **options)
    wholes = [node.get_content(MetadataMode.EMBED) for node in nodes]
    longest = max(map(embedding.count_tokens, wholes))
    assert longest <= options.get("chunk_size", embedding.max_passage_tokens)
    assert "".join("".join(node.text.split()) for node in nodes) == "".join(TEXT.split())
    assert len(embedding.get_text_embedding_batch(wholes)) == len(nodes)
    assert document.model_dump() == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [20, 26, 80])
def test_a_long_title_is_shortened_and_the_document_named(
    words: int, embedding: OneGenEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    title = " ".join(f"mill{n}" for n in range(words))
    document = Document(text=TEXT, metadata={"title": title}, id_="doc-7")
    nodes = nodes_of(embedding, document)
    assert all(
        node.metadata["title"] and title.startswith(node.metadata["title"]) for node in nodes
    )
    assert all(embedding.count_tokens(node.metadata["title"]) <= 21 for node in nodes)
    untitled = nodes_of(embedding, Document(text=TEXT))
    assert len(nodes) <= 3 * len(untitled)
    assert "".join("".join(node.text.split()) for node in nodes) == "".join(TEXT.split())
    assert document.metadata["title"] == title, "the document keeps its own"
    [warning] = caplog.messages
    assert "title of document 'doc-7' is longer than 21 tokens" in warning


async def test_nodes_made_asynchronously_have_short_titles_too(embedding: OneGenEmbedding) -> None:
    document = Document(text=TEXT, metadata={"title": "mill " * 80})
    parser = PassageParser(embedding)
    expected = parser.get_nodes_from_documents([document])
    nodes = await parser.aget_nodes_from_documents([document])
    reply = [one.get_content(MetadataMode.EMBED) for one in nodes]
    assert reply == [one.get_content(MetadataMode.EMBED) for one in expected]


@pytest.mark.parametrize("title", [None, ""])
def test_a_title_of_none_is_not_the_word(title: str | None, embedding: OneGenEmbedding) -> None:
    [node] = nodes_of(embedding, Document(text="It has a mill.", metadata={"title": title}))
    assert node.get_content(MetadataMode.EMBED) == "It has a mill."
    assert node.metadata["title"] == title


def test_a_title_that_is_no_text_is_read_as_text(embedding: OneGenEmbedding) -> None:
    [node] = nodes_of(embedding, Document(text="It was dry.", metadata={"title": 1921}))
    assert node.get_content(MetadataMode.EMBED) == "1921\nIt was dry."


def test_an_unknown_option_is_refused_with_the_nearest_name(embedding: OneGenEmbedding) -> None:
    with pytest.raises(InvalidInputError, match="no option 'chunk_siz'; expected 'chunk_size'"):
        PassageParser(embedding, chunk_siz=30)
    with pytest.raises(InvalidInputError, match="no option 'tokenizer'; expected"):
        PassageParser(embedding, tokenizer=str.split)


def test_a_chunk_longer_than_a_passage_is_refused(embedding: OneGenEmbedding) -> None:
    for wrong in (0, 65):
        with pytest.raises(InvalidInputError, match=f"chunk_size={wrong}; expected at most 64"):
            PassageParser(embedding, chunk_size=wrong)


def test_markdown_keeps_headings_lines_and_neighbours(embedding: OneGenEmbedding) -> None:
    text = f"# A\n\n## Leave\n\n{TEXT}\n\n## Rooms\n\n{TEXT}\n"
    metadata = {"file_name": "handbook.md", "page": 2}
    nodes = nodes_of(embedding, Document(text=text, metadata=metadata))
    assert [node.metadata["headings"] for node in nodes[:1] + nodes[-1:]] == [
        "A > Leave",
        "A > Rooms",
    ]
    assert nodes[0].metadata["lines"] == "5"
    assert all(node.metadata["page"] == 2 for node in nodes)
    for node in nodes:
        assert node.get_content(MetadataMode.EMBED) == f"{node.metadata['headings']}\n{node.text}"
        assert text[node.start_char_idx : node.end_char_idx] == node.text
    for one, following in pairwise(nodes):
        assert one.relationships[NodeRelationship.NEXT].node_id == following.node_id
        assert following.relationships[NodeRelationship.PREVIOUS].node_id == one.node_id
    plain = nodes_of(embedding, Document(text=text, metadata={"file_name": "handbook.txt"}))
    assert "headings" not in plain[0].metadata
    chosen = nodes_of(embedding, Document(text=text), syntax="markdown")
    assert [node.text for node in chosen] == [node.text for node in nodes]


def test_metadata_that_a_document_has_is_kept(embedding: OneGenEmbedding) -> None:
    given = {"headings": "mine", "lines": 7, "file_name": "a.md"}
    document = Document(text=f"# A\n\n{TEXT}", metadata=given)
    for node in nodes_of(embedding, document):
        assert given.items() <= node.metadata.items()
        assert node.metadata["title"] == "A"


def test_the_parser_takes_the_embeddings_that_are_set(embedding: OneGenEmbedding) -> None:
    Settings.embed_model = embedding
    assert PassageParser().embed_model is embedding
    assert PassageParser().chunk_size == 64


def test_texts_that_are_too_long_are_embedded_by_their_beginning_with_one_warning(
    embedding: OneGenEmbedding,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        rows = embedding.get_text_embedding_batch([TEXT, TEXT + "End."] * 10)
    (warning,) = caught
    assert "transformations=[PassageParser()]" in str(warning.message)
    beginning = next(embedding.shared.model.fragments(Passage("1", TEXT))).text
    assert np.allclose(rows, embedding.get_text_embedding(beginning), atol=1e-5)


def test_a_text_without_words_is_refused(embedding: OneGenEmbedding) -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        embedding.get_text_embedding(" ")
    with pytest.raises(InvalidInputError, match="The question is empty"):
        embedding.get_query_embedding("")


def test_embeddings_are_those_of_the_core_on_every_path(
    embedding: OneGenEmbedding, model: OneGenModel
) -> None:
    texts = ["Alba\nIt has a mill.", "Brig\nIt has none."]
    rows = model.embed_passages([Passage("0", texts[0]), Passage("1", texts[1])])
    [query] = model.embed_queries(["Where is a mill?"])
    close = {"atol": 1e-5}
    assert np.allclose(embedding.get_text_embedding_batch(texts), rows, **close)
    assert np.allclose(asyncio.run(embedding.aget_text_embedding_batch(texts)), rows, **close)
    assert np.allclose(embedding.get_text_embedding(texts[0]), rows[0], **close)
    assert np.allclose(asyncio.run(embedding.aget_text_embedding(texts[0])), rows[0], **close)
    assert np.allclose(embedding.get_query_embedding("Where is a mill?"), query, **close)
    assert np.allclose(
        asyncio.run(embedding.aget_query_embedding("Where is a mill?")), query, **close
    )
    assert type(embedding.get_query_embedding("Where?")[0]) is float
