"""Documents as users have them: metadata that is not JSON, empty pages, long pages, no titles."""

import json
import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.messages import messages_to_dict
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings, OneGenRetriever
from onegen_integrations.shared.usable_passages import shorten_title
from onegen_model import OneGenModel
from onegen_model.errors import RetrievalError
from tests.support.script import scripted
from tests.support.vectorstores import chroma

QUESTION = "Which town is older?"
TURNS = {QUESTION: "Who founded Alba?[RQ]<FINAL-ANSWER>Ann</FINAL-ANSWER>"}
ODD = {"founded": date(1921, 5, 4), "area": np.float32(1.5), "tags": {"old"}, "file": Path("a.md")}


class Pages(BaseRetriever):
    """Finds the same pages for every question."""

    pages: list[Any]

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return list(self.pages)


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


def ask(folder: Path, *pages: Document, **options: Any) -> Any:
    return OneGenChatModel(model=folder, retriever=Pages(pages=pages), **options).invoke(QUESTION)


def found(message: Any) -> list[Any]:
    (result,) = (block for block in message.content if block["type"] == "server_tool_result")
    return list(result["output"])


def test_a_history_with_dates_and_numpy_values_can_be_stored(
    wide_folder: Path, model: OneGenModel
) -> None:
    message = ask(wide_folder, Document("Ann founded it.", id="1", metadata=ODD))
    stored = json.loads(json.dumps(messages_to_dict([message])))
    (passage,) = found(message)
    assert stored[0]["data"]["content"] == message.content
    assert passage["metadata"] == {
        **{"founded": "1921-05-04", "area": 1.5, "tags": ["old"], "file": "a.md"}
    }


def test_the_documents_of_a_retriever_keep_their_metadata(
    wide_folder: Path, model: OneGenModel
) -> None:
    pages = Pages(pages=[Document("Ann founded it.", id="1", metadata=ODD)])
    (document,) = OneGenRetriever(model=wide_folder, retriever=pages).invoke(QUESTION)
    assert document.metadata.items() >= ODD.items()


def test_a_title_of_none_is_not_cited_as_the_word_none(
    wide_folder: Path, model: OneGenModel
) -> None:
    message = ask(wide_folder, Document("Ann founded it.", id="1", metadata={"title": None}))
    assert [one["title"] for one in message.content[-1]["annotations"]] == [""]


def test_an_empty_page_does_not_fail_the_question(
    wide_folder: Path, model: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    message = ask(wide_folder, Document(" \n", id="blank"), Document("Ann did.", id="1"))
    assert message.text == "Ann"
    assert [one["id"] for one in found(message)] == ["1"]
    assert "Document 'blank' is empty; it is skipped" in caplog.text


def test_a_page_that_is_too_long_is_cut_at_a_sentence(
    wide_folder: Path, model: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    long = "Ann founded it. " + "Nothing else is known of that town by the river. " * 40
    message = ask(wide_folder, Document(long, id="long"), Document("Bob did.", id="1"))
    shown, other = (one["page_content"] for one in found(message))
    assert long.startswith(shown)
    assert shown.endswith(".")
    assert other == "Bob did."
    assert 0 < model.count_tokens(shown) <= model.max_passage_tokens
    assert "Passage 'long' is longer than 64 tokens" in caplog.text


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_empty_pages_alone_are_an_error_that_names_them(
    asynchronous: bool, wide_folder: Path, model: OneGenModel
) -> None:
    pages = Pages(pages=[Document("", id="a"), Document("", id="b")])
    chat = OneGenChatModel(model=wide_folder, retriever=pages)
    with pytest.raises(RetrievalError, match=r"Every document found is empty \('a', 'b'\)"):
        await chat.ainvoke(QUESTION) if asynchronous else chat.invoke(QUESTION)
    assert chat.invoke(QUESTION, on_retrieval_error="continue").text == "Ann"


def test_a_title_that_is_too_long_is_shortened_with_a_warning(
    tiny: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    title = "the mill of the town by the river " * 20
    with caplog.at_level(logging.WARNING):
        short = shorten_title(title, "page 7", tiny)
    assert title.startswith(short)
    assert 0 < tiny.count_tokens(short) <= tiny.max_passage_tokens // 3
    assert "title of document 'page 7' is longer than 21 tokens" in caplog.text


def test_chroma_takes_the_documents_of_a_retriever(
    wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    documents = OneGenRetriever(model=wide_folder, vectorstore=store, k=2).invoke(QUESTION)
    assert len(documents) == 2
    again: Any = chroma()(OneGenEmbeddings(model=wide_folder), documents)
    assert isinstance(again, Chroma)
    assert len(again.get()["ids"]) == 2
