"""OneGenEmbeddings: LangChain's own suites, and cases beyond them."""

import asyncio
import importlib
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pydantic import ValidationError

from onegen_integrations.langchain import OneGenEmbeddings, to_document, to_passage
from onegen_integrations.shared import SharedModel, shared_model
from onegen_model import OneGenModel, Passage, PassagePlace, ScoredPassage, place_of
from onegen_model.errors import InvalidInputError, MissingExtraError


class OnTheTinyModel:
    @pytest.fixture(autouse=True)
    def _use(self, folder: Path) -> None:
        self.folder = folder

    @property
    def embeddings_class(self) -> type[OneGenEmbeddings]:
        return OneGenEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": str(self.folder)}


class TestUnit(OnTheTinyModel, EmbeddingsUnitTests):
    """LangChain's unit suite."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"ONEGEN_MODEL": str(self.folder)}, {}, {"model": str(self.folder)}


class TestIntegration(OnTheTinyModel, EmbeddingsIntegrationTests):
    """LangChain's integration suite."""


def test_documents_and_queries_are_embedded_as_the_model_does(
    embeddings: OneGenEmbeddings, folder: Path
) -> None:
    model = shared_model(folder)
    texts = ["The Ossel is a river.", "Ada Wrenfield was born in Dunmarrow."]
    expected = model.embed_passages([Passage(text, text) for text in texts])
    assert np.array_equal(np.float32(embeddings.embed_documents(texts)), expected)
    assert np.array_equal(
        np.float32(embeddings.embed_query("Which river?")), model.embed_queries(["Which river?"])[0]
    )
    assert np.allclose(np.linalg.norm(embeddings.embed_documents(texts), axis=1), 1)
    assert embeddings.embed_documents([]) == []


def test_a_title_in_the_first_line_is_a_passage_with_a_title(
    embeddings: OneGenEmbeddings, folder: Path
) -> None:
    passage = Passage("ossel", "It is a river in Tarsevia.", "Ossel")
    document = to_document(passage)
    assert document.page_content == "Ossel\nIt is a river in Tarsevia."
    expected = shared_model(folder).embed_passages([passage])[0].tolist()
    assert embeddings.embed_documents([document.page_content]) == [expected]
    assert to_passage(document).title == "Ossel"


@pytest.mark.parametrize(
    ("content", "metadata", "title"),
    [
        ("Ossel\nA river.", {"title": "Ossel"}, "Ossel"),
        ("A river.", {"title": "Ossel"}, ""),
        ("Ossel A river.", {"title": "Ossel"}, ""),
        ("Ossel\n ", {"title": "Ossel"}, ""),
        ("\nA river.", {"title": ""}, ""),
        ("None\nA river.", {"title": None}, ""),
        ("7\nA river.", {"title": 7}, ""),
        ("A river.", {"page": 3, "nested": {"a": [1]}}, ""),
    ],
)
def test_the_inserted_text_is_the_embedded_one(
    content: str, metadata: dict[str, Any], title: str, folder: Path
) -> None:
    renderer = shared_model(folder).renderer
    document = Document(id="a", page_content=content, metadata=metadata)
    passage = to_passage(document)
    assert passage.title == title
    assert renderer.embed_ids(passage) == renderer.embed_ids(Passage("a", content))
    assert passage.metadata == metadata
    assert to_document(passage) == document


def test_a_place_is_kept_as_one_text_beside_the_names_that_users_know() -> None:
    place = PassagePlace(
        "docs/a.pdf", "docs/a.pdf", 2, 5, ("Mills",), (3, 4), (10, 12), (90, 200), "digest", ("x",)
    )
    own = {"source": "my own", "tags": ["old"]}
    passage = Passage(place.passage_id, "A river.", "Ossel", {**own, **place.to_metadata()})
    metadata = to_document(passage).metadata
    assert metadata.pop("onegen").startswith('{"source": "docs/a.pdf"')
    assert metadata == {
        **own,
        **{"title": "Ossel", "page": 2, "page_label": "3-4", "lines": "10-12"},
        **{"start_index": 90, "end_index": 200},
    }
    assert place_of(to_passage(to_document(passage))) == place
    bare = Passage(place.passage_id, "A river.", "", place.to_metadata())
    assert to_document(bare).metadata["source"] == "docs/a.pdf"
    for broken in ("{", "[1]", "7", ""):
        document = Document("A river.", id="1", metadata={"onegen": broken})
        assert to_passage(document).metadata == {"onegen": broken}


def test_a_document_without_an_id_gets_one_from_its_content() -> None:
    one, same, other = (to_passage(Document(page_content=text)) for text in ("a", "a", "b"))
    assert one.id == same.id != other.id
    assert to_passage(Document(page_content="a", metadata={"_id": 7})).id == "7"


def test_a_score_goes_into_the_metadata() -> None:
    document = to_document(ScoredPassage(Passage("a", "text", metadata={"page": 3}), 0.5))
    assert document.metadata == {"page": 3, "relevance_score": 0.5}


def test_texts_that_are_too_long_are_embedded_by_their_beginning_with_one_warning(
    embeddings: OneGenEmbeddings,
) -> None:
    text = "The café on the corner opened at 8:30 and closed at 23:15. " * 12
    assert embeddings.count_tokens(text) > embeddings.max_passage_tokens == 64
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        rows = embeddings.embed_documents(["short", text, text + "End."])
        embeddings.embed_documents([text])
    (warning,) = caught
    assert "longer than 64 tokens" in str(warning.message)
    assert "OneGenTextSplitter" in str(warning.message)
    beginning = next(embeddings.shared.model.fragments(Passage("1", text))).text
    assert text.startswith(beginning)
    (expected,) = embeddings.embed_documents([beginning])
    assert np.allclose(rows[1:], expected)
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=embeddings.max_passage_tokens - 8,
        chunk_overlap=0,
        length_function=embeddings.count_tokens,
    )
    chunks = splitter.split_text(text)
    assert len(chunks) > 2
    assert len(embeddings.embed_documents(chunks)) == len(chunks)


def test_an_empty_document_is_refused_by_its_position(embeddings: OneGenEmbeddings) -> None:
    with pytest.raises(InvalidInputError, match=r"'texts\[1\]' is empty"):
        embeddings.embed_documents(["fine", " "])


async def test_the_event_loop_turns_while_the_model_embeds(
    embeddings: OneGenEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*_: Any) -> Any:
        time.sleep(0.2)
        return np.ones((1, 4), np.float32)

    monkeypatch.setattr(OneGenModel, "embed_passages", slowly)
    monkeypatch.setattr(OneGenModel, "embed_queries", slowly)
    for task in (embeddings.aembed_documents(["a"]), embeddings.aembed_query("a")):
        pending, turns = asyncio.ensure_future(task), 0
        while not pending.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 5


async def test_a_handle_is_answered_without_a_forward(
    embeddings: OneGenEmbeddings, forwards: list[object]
) -> None:
    with embeddings.handle([0.6, 0.8]) as handle:
        assert embeddings.embed_query(handle) == [0.6, 0.8]
        assert await embeddings.model_copy(deep=True).aembed_query(handle) == [0.6, 0.8]
    assert forwards == []
    with pytest.raises(InvalidInputError, match="A handle was used after its context had ended"):
        embeddings.embed_query(handle)
    embeddings.embed_query("text")
    assert forwards


def test_copies_and_pickles_share_the_weights(embeddings: OneGenEmbeddings, folder: Path) -> None:
    for other in (embeddings.model_copy(deep=True), pickle.loads(pickle.dumps(embeddings))):
        assert other.shared.model is shared_model(folder)
    loaded = OneGenEmbeddings(model=shared_model(folder))
    assert loaded.shared == embeddings.shared
    assert loaded.model_copy(deep=True).shared.model is shared_model(folder)
    assert loaded.model_dump()["model"] == str(folder.resolve())


def test_the_model_is_loaded_when_first_used() -> None:
    embeddings = OneGenEmbeddings(model="no/such/model")
    assert embeddings.shared == SharedModel("no/such/model")
    with pytest.raises(ValidationError, match="modle"):
        OneGenEmbeddings(modle="a typing error")


def test_without_langchain_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "onegen_integrations.langchain")
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingExtraError, match=r'pip install "onegen\[langchain\]"'):
        importlib.import_module("onegen_integrations.langchain")
