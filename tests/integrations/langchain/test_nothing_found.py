"""What a chat model, a text model and a retriever say where a search finds nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenLLM,
    OneGenRetriever,
)
from onegen_model import OneGenModel
from onegen_model.params import NOT_FOUND
from tests.support.chats import QUESTION, TURNS
from tests.support.script import scripted
from tests.support.vectorstores import DOCUMENTS, ONE_OF_EACH, Build, VectorOnly

NEXT = "And then?"
TOO_HIGH = 1.5  # no cosine is as high
REASON = 'Nothing was found for "Who founded Alba?" with a score of at least 1.5.'


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, {**TURNS, NEXT: "<FINAL-ANSWER>Bob</FINAL-ANSWER>"}):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=400)


def check(message: Any, text: str = NOT_FOUND) -> None:
    assert isinstance(message, AIMessage)
    metadata = message.response_metadata
    assert (message.text, metadata["found"], metadata["reason"]) == (text, False, REASON)
    assert metadata["finish_reason"] == "stop"
    counted = metadata["onegen"]["usage"]
    assert (counted["retrievals"], counted["empty_retrievals"]) == (1, 1)


@pytest.mark.parametrize("build", ONE_OF_EACH.values(), ids=ONE_OF_EACH.keys())
def test_scores_are_cosines_in_every_store(
    build: Build, chat: OneGenChatModel, wide_folder: Path
) -> None:
    chat.vectorstore = build(OneGenEmbeddings(model=wide_folder), DOCUMENTS)
    check(chat.invoke(QUESTION, min_score=TOO_HIGH))
    found = chat.invoke(QUESTION, min_score=-1.0).response_metadata
    assert (found["found"], found["reason"]) == (True, "")


def test_all_paths_say_the_same(chat: OneGenChatModel) -> None:
    chat.min_score = TOO_HIGH
    whole = chat.invoke(QUESTION)
    check(whole)
    first, *others = chat.stream(QUESTION)
    assert (streamed := sum(others, first)).response_metadata["reason"] == REASON
    assert streamed.text == NOT_FOUND
    check(chat.batch([QUESTION])[0])
    check(asyncio.run(chat.ainvoke(QUESTION)))


def test_the_limits_of_a_call_come_first(chat: OneGenChatModel) -> None:
    check(chat.invoke(QUESTION, score_threshold=TOO_HIGH, not_found="No idea."), "No idea.")
    without = chat.invoke(QUESTION, min_score=TOO_HIGH, not_found=None)
    assert without.response_metadata["found"] is False
    assert without.text != NOT_FOUND


@pytest.mark.parametrize("name", ["min_score", "score_threshold"])
def test_both_names_of_the_limit_mean_the_same(
    name: str, wide_folder: Path, store: InMemoryVectorStore
) -> None:
    given: dict[str, Any] = {name: 0.25}
    assert OneGenChatModel(model=wide_folder, vectorstore=store, **given).min_score == 0.25
    with pytest.raises(ValueError, match="which mean the same"):
        OneGenChatModel(min_score=0.5, score_threshold=0.25)


@pytest.mark.parametrize("given", [{"min_score": float("nan")}, {"not_found": " "}])
def test_limits_that_mean_nothing_are_refused(given: Any, chat: OneGenChatModel) -> None:
    with pytest.raises(ValueError, match=r"; expected .* or None; change"):
        OneGenChatModel(**given)
    with pytest.raises(ValueError, match=r"; expected .* or None; change"):
        chat.invoke(QUESTION, **given)


def test_a_store_whose_scores_may_be_distances_is_refused(chat: OneGenChatModel) -> None:
    chat.vectorstore = VectorOnly(DeterministicFakeEmbedding(size=4))
    with pytest.raises(ValueError, match=r"min_score=0.5 for VectorOnly .* not known as cosines"):
        chat.invoke(QUESTION, min_score=0.5)


def test_a_turn_that_found_nothing_is_not_read_again(chat: OneGenChatModel) -> None:
    first = chat.invoke(QUESTION, min_score=TOO_HIGH)
    second = chat.invoke([HumanMessage(QUESTION), first, HumanMessage(NEXT)])
    assert second.text == "Bob"
    assert second.response_metadata["found"], "the earlier turn does not count"
    assert second.usage_metadata
    reused = second.usage_metadata["input_token_details"]["cache_read"]
    read = first.response_metadata["onegen"]["usage"]
    assert reused == read["forwarded"] + read["reused"]


def test_the_text_model_and_the_retriever(
    wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    llm = OneGenLLM(model=wide_folder, vectorstore=store, min_score=TOO_HIGH, max_tokens=400)
    (written,) = llm.generate([QUESTION]).generations[0]
    assert written.text == NOT_FOUND
    assert written.generation_info is not None
    assert written.generation_info["reason"] == REASON
    retriever = OneGenRetriever(model=wide_folder, vectorstore=store)
    assert retriever.invoke(QUESTION, None, min_score=TOO_HIGH) == []
    assert len(retriever.invoke(QUESTION, None, not_found=None)) == 2


def test_structured_output_has_no_place_for_the_text(chat: OneGenChatModel) -> None:
    schema = {
        "title": "Old",
        "type": "object",
        "properties": {"is_old": {"type": "boolean"}},
        "required": ["is_old"],
    }
    chat.min_score = TOO_HIGH
    reply = chat.with_structured_output(schema, include_raw=True).invoke(QUESTION)
    assert reply["parsing_error"] is None
    assert reply["raw"].response_metadata["found"] is False
    assert reply["raw"].response_metadata["reason"] == REASON


def test_a_store_that_fails_is_named_and_the_model_writes_on(chat: OneGenChatModel) -> None:
    class Broken(InMemoryVectorStore):
        def similarity_search_with_score_by_vector(self, *args: Any, **options: Any) -> Any:
            raise ConnectionError("down")

    assert isinstance(chat.vectorstore, InMemoryVectorStore)
    broken = Broken(chat.vectorstore.embeddings)
    broken.store = chat.vectorstore.store
    chat.vectorstore = broken
    message = chat.invoke(QUESTION, on_retrieval_error="continue")
    assert message.text == "founded by Ann"
    reason = message.response_metadata["reason"]
    assert reason == 'The search for "Who founded Alba?" failed: ConnectionError: down'
