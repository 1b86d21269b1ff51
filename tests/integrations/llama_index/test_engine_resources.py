"""Engines are pickled and restored, and warn where the context has no room for a memory."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PromptTemplate, VectorStoreIndex
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from onegen_integrations.llama_index import (
    OneGenChatEngine,
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenRetriever,
)
from onegen_model import OneGenError, OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.conftest import Build
from tests.integrations.llama_index.scripted_queries import QUESTION, TURNS, ByText, plain, titles
from tests.support.script import scripted


@pytest.fixture(autouse=True)
def script(model: OneGenModel, llm: OneGenLLM) -> Any:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


def copy(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))


@pytest.mark.parametrize("store", ["simple", "faiss ip"])
def test_engines_are_pickled_with_the_names_of_model_and_store(
    store: str, build: Build, llm: OneGenLLM
) -> None:
    index = build(store)
    engine = OneGenQueryEngine.from_index(index, llm, similarity_top_k=3)
    assert plain(copy(engine).query(QUESTION))["nodes"] == plain(engine.query(QUESTION))["nodes"]
    retriever = OneGenRetriever.from_index(index, llm)
    assert titles(copy(retriever).retrieve(QUESTION)) == titles(retriever.retrieve(QUESTION))
    chat = OneGenChatEngine.from_index(index, llm)
    chat.chat(QUESTION)
    again = copy(chat)
    assert again.chat_history == chat.chat_history
    assert again.chat("Once more?").response is not None
    assert len(pickle.dumps(chat)) < 200_000, "no weights and no tokenizer"


def test_a_store_with_a_client_is_named_when_its_engine_cannot_be_pickled(
    build: Build, llm: OneGenLLM
) -> None:
    index = build("chroma cosine")
    for make in (OneGenQueryEngine, OneGenChatEngine, OneGenRetriever):
        with pytest.raises(InvalidInputError, match=r"ChromaVectorStore cannot be .*; pass its na"):
            pickle.dumps(make.from_index(index, llm))
    engine = OneGenQueryEngine.from_retriever(index.as_retriever(), llm)
    with pytest.raises(InvalidInputError, match="ChromaVectorStore cannot be pickled"):
        pickle.dumps(engine)


def test_a_model_without_a_name_is_refused_when_its_engine_is_pickled(folder: Path) -> None:
    own = OneGenModel.from_pretrained(folder)
    llm, embedding = OneGenLLM(model=own), OneGenEmbedding(model=own)
    with pytest.raises(InvalidInputError, match="cannot be pickled"):
        pickle.dumps(embedding)
    with pytest.raises(InvalidInputError, match="cannot be pickled"):
        pickle.dumps(OneGenQueryEngine.from_retriever(ByText(), llm))


def test_a_chat_engine_without_room_for_a_memory_warns(
    index: VectorStoreIndex, llm: OneGenLLM
) -> None:
    with pytest.warns(UserWarning, match="remembers no earlier turn: 70 passages of up to 64"):
        OneGenChatEngine.from_index(index, llm, similarity_top_k=70)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OneGenChatEngine.from_index(index, llm, similarity_top_k=4)


class Town(BaseModel):
    """A town."""

    name: str
    mills: list[str]


DESCRIBE = PromptTemplate("Describe Alba.")
TOOL = FunctionTool.from_defaults(Town, name="town")
STRUCTURED: dict[str, Callable[[OneGenLLM], Any]] = {
    "predict": lambda llm: llm.structured_predict(Town, DESCRIBE),
    "stream": lambda llm: list(llm.stream_structured_predict(Town, DESCRIBE)),
    "llm": lambda llm: llm.as_structured_llm(Town).complete("Describe Alba."),
    "tool": lambda llm: llm.chat_with_tools([TOOL], "Describe Alba.", tool_required=True),
}


@pytest.mark.parametrize("way", STRUCTURED)
def test_structured_output_that_is_cut_is_one_error(way: str, llm: OneGenLLM) -> None:
    llm.max_tokens = 5
    with pytest.raises(OneGenError, match=r"structured output was cut after 5 tokens.*max_tokens"):
        STRUCTURED[way](llm)


def test_a_model_is_freed_through_every_component(folder: Path, index: VectorStoreIndex) -> None:
    llm = OneGenLLM(model=folder, max_tokens=8)
    for one in (
        llm,
        OneGenEmbedding(model=folder),
        OneGenQueryEngine.from_index(index, llm),
        OneGenChatEngine.from_index(index, llm),
        OneGenRetriever.from_index(index, llm),
    ):
        before = llm.shared.model
        one.unload()
        assert llm.shared.model is not before
        assert llm.complete(QUESTION).text
