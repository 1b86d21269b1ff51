"""Windows over LangChain's stores, citations, and documents of its usual splitters."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenRetriever,
    OneGenTextSplitter,
    to_document,
)
from onegen_model import OneGenModel, Passage, PassagePlace
from onegen_model.errors import InvalidInputError, RetrievalError
from tests.support.script import scripted
from tests.support.vectorstores import Build, TextStore, Words, chroma, one_of_each

QUESTION, NEXT = "Who founded Alba?", "And Brig?"
TURNS = {
    QUESTION: "[RQ]Ann did.\n<FINAL-ANSWER> Ann</FINAL-ANSWER>",
    NEXT: "[RQ]<FINAL-ANSWER>Bob</FINAL-ANSWER>",
}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


def town(chunk: int, **own: Any) -> Document:
    place = PassagePlace(
        "docs/towns.pdf",
        "docs/towns.pdf",
        chunk,
        8,
        pages=(chunk + 1, chunk + 1),
        lines=(2 * chunk + 1, 2 * chunk + 1),
        span=(40 * chunk, 40 * chunk + 39),
    )
    text = f"The town number {chunk} lies by the river."
    return to_document(Passage(place.passage_id, text, "Towns", {**own, **place.to_metadata()}))


TOWNS = [town(n, bank="north" if n < 4 else "south") for n in range(8)]


def chat_over(
    folder: Path, store: VectorStore, documents: Sequence[Document] = (), **options: Any
) -> OneGenChatModel:
    return OneGenChatModel(
        model=folder, vectorstore=store, **{"k": 1, "window": 1, "max_tokens": 200, **options}
    )


def outputs(message: Any) -> list[Any]:
    results = [block for block in message.content if block["type"] == "server_tool_result"]
    return [one for result in results for one in result["output"]]


def pieces(output: Any) -> list[str]:
    kept = json.loads(output["metadata"]["onegen"]).get("pieces", [output["id"]])
    return [one.rpartition("#")[2] for one in kept]


@one_of_each
def test_a_hit_is_widened_in_every_store_and_nothing_is_read_twice(
    build: Build, wide_folder: Path, model: OneGenModel
) -> None:
    store = build(OneGenEmbeddings(model=wide_folder), TOWNS)
    chat = chat_over(wide_folder, store)
    first: Any = chat.invoke(QUESTION)
    (output,) = outputs(first)
    names = pieces(output)
    assert len(names) >= 2
    at = int(output["id"].rpartition("#")[2])
    assert names == [str(n) for n in range(max(at - 1, 0), min(at + 2, 8))]
    assert output["page_content"].count("Towns") == 1
    for name in names:
        assert f"number {name} lies" in output["page_content"]
    second: Any = chat.invoke([HumanMessage(QUESTION), first, HumanMessage(NEXT)])
    (other,) = outputs(second)
    assert not set(pieces(other)) & set(names)
    reused = second.usage_metadata["input_token_details"]["cache_read"]
    assert reused == first.usage_metadata["total_tokens"] - 1


async def test_an_asynchronous_request_is_widened_too(
    wide_folder: Path, model: OneGenModel
) -> None:
    store = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    store.add_documents(TOWNS)
    (output,) = outputs(await chat_over(wide_folder, store).ainvoke(QUESTION, window=2))
    assert len(pieces(output)) >= 3


@one_of_each
def test_neighbours_pass_the_filter(build: Build, wide_folder: Path, model: OneGenModel) -> None:
    store = build(OneGenEmbeddings(model=wide_folder), TOWNS)
    for bank, allowed in (("north", "0123"), ("south", "4567")):
        message = chat_over(wide_folder, store, filter={"bank": bank}, window=8).invoke(QUESTION)
        (output,) = outputs(message)
        assert pieces(output) == list(allowed)


def test_filters_of_the_store_apply_to_neighbours_or_are_refused(
    wide_folder: Path, model: OneGenModel
) -> None:
    memory = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    memory.add_documents(TOWNS)
    chat = chat_over(wide_folder, memory, window=8)
    (output,) = outputs(chat.invoke(QUESTION, filter=lambda one: one.metadata["bank"] == "north"))
    assert pieces(output) == list("0123")
    store = chroma()(OneGenEmbeddings(model=wide_folder), TOWNS)
    odd = {"$not_of_the_core": [{"bank": "north"}]}
    with pytest.raises(InvalidInputError, match="A window with a filter that only Chroma"):
        chat_over(wide_folder, store).invoke(QUESTION, filter=odd)


def test_a_source_that_cannot_fetch_by_id_is_refused_at_once(
    wide_folder: Path, model: OneGenModel
) -> None:
    text = TextStore(OneGenEmbeddings(model=wide_folder))
    with pytest.raises(InvalidInputError, match="A window over TextStore, which cannot fetch"):
        chat_over(wide_folder, text).invoke(QUESTION)
    words = OneGenChatModel(model=wide_folder, retriever=Words(), window=1)
    with pytest.raises(InvalidInputError, match="A window over Words, which cannot fetch"):
        words.invoke(QUESTION)
    with pytest.raises(InvalidInputError, match="window=-1"):
        chat_over(wide_folder, text, window=0).invoke(QUESTION, window=-1)


def test_documents_that_do_not_say_where_they_stand_are_read_alone(
    wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    with pytest.warns(UserWarning, match="split documents with OneGenTextSplitter"):
        (output,) = outputs(chat_over(wide_folder, store).invoke(QUESTION))
    assert output["page_content"].startswith(output["id"])


def test_a_failing_store_costs_the_neighbours_or_the_answer(
    wide_folder: Path, model: OneGenModel, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(InMemoryVectorStore):
        def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
            raise ConnectionError("gone")

    store = Failing(OneGenEmbeddings(model=wide_folder))
    store.add_documents(TOWNS)
    chat = chat_over(wide_folder, store)
    with pytest.raises(RetrievalError, match="Failing raised ConnectionError: gone"):
        chat.invoke(QUESTION)
    (output,) = outputs(chat.invoke(QUESTION, on_retrieval_error="continue"))
    assert len(pieces(output)) == 1
    assert "is inserted without neighbours: gone" in caplog.text


def test_citations_say_where_a_passage_stands(wide_folder: Path, model: OneGenModel) -> None:
    store = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    store.add_documents([TOWNS[2]])
    message: Any = chat_over(wide_folder, store).invoke(QUESTION)
    (citation,) = message.content_blocks[-1]["annotations"]
    place = {
        **{"source": "docs/towns.pdf", "page": 2, "page_label": "3", "lines": "5"},
        **{"start_index": 80, "end_index": 119},
    }
    assert citation["extras"].items() >= place.items()
    assert citation["title"] == "Towns"
    (output,) = outputs(message)
    assert output["metadata"].items() >= place.items()


def test_the_documents_of_a_retriever_with_a_window_can_be_stored(
    wide_folder: Path, model: OneGenModel
) -> None:
    store = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    store.add_documents(TOWNS)
    retriever = OneGenRetriever(model=wide_folder, vectorstore=store, k=1, window=1)
    (document,) = retriever.invoke(QUESTION)
    place = json.loads(document.metadata["onegen"])
    assert place["lines"][0] < place["lines"][1]
    assert document.metadata["lines"] == "{}-{}".format(*place["lines"])
    assert (document.metadata["start_index"], document.metadata["end_index"]) == (*place["span"],)
    assert document.metadata["source"] == "docs/towns.pdf"
    assert {type(value) for value in document.metadata.values()} <= {str, int, float}
    again: Any = chroma()(OneGenEmbeddings(model=wide_folder), [document])
    assert isinstance(again, Chroma)
    (kept,) = again.get_by_ids([document.id])
    assert kept.metadata == document.metadata


@one_of_each
def test_passages_of_our_splitter_are_widened(
    build: Build, wide_folder: Path, model: OneGenModel
) -> None:
    embeddings = OneGenEmbeddings(model=wide_folder)
    text = "# Alba\n\n" + " ".join(f"The mill has wheel {n}." for n in range(40))
    same = [
        Document(text, metadata={"source": "a.md"}),
        Document(text, metadata={"source": "a.md"}),
    ]
    passages = OneGenTextSplitter(embeddings).split_documents(same)
    assert len({one.id for one in passages}) == len(passages) > 8
    again = OneGenTextSplitter(embeddings).split_documents(same)
    assert [one.id for one in again] == [one.id for one in passages]
    (output,) = outputs(chat_over(wide_folder, build(embeddings, passages)).invoke(QUESTION))
    assert len(pieces(output)) >= 2
    assert output["page_content"].count("Alba") == 1
    wheels = [int(word.strip(".")) for word in output["page_content"].split() if word[0].isdigit()]
    assert wheels == list(range(wheels[0], wheels[0] + len(wheels)))


LONG = "\n\n".join(
    f"Paragraph {n}. " + "Ann founded the town of Alba by the river. " * 20 for n in range(30)
)
SPLITTERS = {
    "recursive": RecursiveCharacterTextSplitter(),
    "recursive 1000": RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200),
    "characters": CharacterTextSplitter(),
}


@pytest.mark.parametrize("splitter", SPLITTERS.values(), ids=SPLITTERS.keys())
@one_of_each
def test_the_usual_splitters_work_with_their_defaults_and_one_warning(
    splitter: Any,
    build: Build,
    wide_folder: Path,
    model: OneGenModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    documents = splitter.split_documents([Document(LONG, metadata={"source": "towns.txt"})])
    assert len(documents) > 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        store = build(OneGenEmbeddings(model=wide_folder), documents)
        store.add_documents(documents[:2])
    ours = [str(one.message) for one in caught if "tokens" in str(one.message)]
    assert len(ours) == 1
    with caplog.at_level(logging.WARNING):
        message = chat_over(wide_folder, store, window=0).invoke(QUESTION)
    assert message.text == "Ann"
    (output,) = outputs(message)
    assert 0 < model.count_tokens(output["page_content"]) <= model.max_passage_tokens
    assert "and was cut" in caplog.text
    whole = chat_over(wide_folder, store, window=0, passage_tokens=3000).invoke(QUESTION)
    assert outputs(whole)[0]["page_content"] in {one.page_content for one in documents}


def test_other_ids_than_those_of_the_splitter_are_named(
    wide_folder: Path, model: OneGenModel
) -> None:
    store = InMemoryVectorStore(OneGenEmbeddings(model=wide_folder))
    store.add_documents([Document(one.page_content, metadata=one.metadata) for one in TOWNS])
    with pytest.warns(UserWarning, match="ids are not those of OneGenTextSplitter"):
        (output,) = outputs(chat_over(wide_folder, store).invoke(QUESTION))
    assert output["page_content"].count("number") == 1
