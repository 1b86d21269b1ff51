"""Bad input is one clear error before any work: nothing is loaded, searched or remembered."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, MessageRole

from onegen_integrations.llama_index import (
    OneGenChatEngine,
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenRetriever,
    PassageParser,
)
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.conftest import Positions, Recorder

NO_TEXT = (None, 3, 1.5, {"question": "Who?"}, ["Who?"], b"Who?", "", " \n")


def run(asked: Any) -> Any:
    return asyncio.run(asked) if asyncio.iscoroutine(asked) else asked


@pytest.mark.parametrize("question", NO_TEXT)
def test_a_question_that_is_no_text_is_refused_before_any_work(
    question: Any, index: VectorStoreIndex, llm: OneGenLLM, positions: Positions, recorder: Recorder
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm)
    retriever = OneGenRetriever.from_index(index, llm)
    chat = OneGenChatEngine.from_index(index, llm)
    positions.count = 0
    recorder.events.clear()
    for ask in (
        engine.query,
        engine.aquery,
        retriever.retrieve,
        retriever.aretrieve,
        chat.chat,
        chat.achat,
        chat.stream_chat,
        chat.astream_chat,
        llm.complete,
        llm.acomplete,
        llm.stream_complete,
        llm.astream_complete,
    ):
        with pytest.raises(InvalidInputError, match=r"The (question|message) is .*; expected some"):
            run(ask(question))
    with pytest.raises(InvalidInputError, match=r"The question is .*; expected some text"):
        engine.query(QueryBundle(question))
    assert chat.chat_history == []
    assert positions.count == 0
    assert set(recorder.counts()) == {"SpanDropEvent"}, "LlamaIndex's record of an exception"


@pytest.mark.parametrize("messages", [None, 3, "Who?", {"role": "user"}, ["Who?"], [None]])
def test_messages_that_are_none_are_refused_before_any_work(
    messages: Any, llm: OneGenLLM, recorder: Recorder
) -> None:
    for ask in (llm.chat, llm.achat, llm.stream_chat, llm.astream_chat):
        with pytest.raises(InvalidInputError, match=r"expected a (list of )?ChatMessage"):
            run(ask(messages))
        with pytest.raises(InvalidInputError, match=r"expected a (list of )?ChatMessage"):
            run(ask(messages=messages))
    assert set(recorder.counts()) == {"SpanDropEvent"}


def test_a_history_that_is_none_is_refused_and_not_remembered(
    index: VectorStoreIndex, llm: OneGenLLM
) -> None:
    engine = OneGenChatEngine.from_index(index, llm)
    odd: Any = ["Who?"]
    for ask in (engine.chat, engine.achat, engine.stream_chat, engine.astream_chat):
        with pytest.raises(InvalidInputError, match="Message 0 is of type str; expected"):
            run(ask("Who?", odd))
    assert engine.chat_history == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_token": 3}, "no option 'max_token'; expected 'max_tokens'"),
        ({"logprobs": True}, "no option 'logprobs'; expected some of "),
    ],
)
def test_a_misspelt_argument_of_a_call_is_refused_with_the_nearest_name(
    options: dict[str, Any], problem: str, llm: OneGenLLM, recorder: Recorder
) -> None:
    for kind in ("{}", "a{}", "stream_{}", "astream_{}"):
        for name, asked in (("chat", [ChatMessage("Hello.")]), ("complete", "Hello.")):
            with pytest.raises(InvalidInputError, match=problem):
                run(getattr(llm, kind.format(name))(asked, **options))
    assert set(recorder.counts()) == {"SpanDropEvent"}


def test_retrieval_that_is_forced_without_a_retriever_is_refused(llm: OneGenLLM) -> None:
    with pytest.raises(InvalidInputError, match='"always" without a retriever; expected one'):
        llm.chat([ChatMessage("Hello.")], retrieval="always")


@pytest.mark.parametrize("count", [0, -1, "3", 2.5, True])
def test_a_number_of_nodes_that_is_none_is_refused_when_the_engine_is_made(
    count: Any, index: VectorStoreIndex, llm: OneGenLLM
) -> None:
    for make in (OneGenQueryEngine, OneGenRetriever, OneGenChatEngine):
        with pytest.raises(InvalidInputError, match=r"top_k=.*; expected at least 1"):
            make.from_index(index, llm, similarity_top_k=count)


def test_a_developer_is_read_as_the_system(llm: OneGenLLM) -> None:
    replies = [
        llm.chat([ChatMessage("Be kind.", role=role), ChatMessage("Hello.")])
        for role in (MessageRole.SYSTEM, MessageRole.DEVELOPER, "developer")
    ]
    assert replies[0].message.content == replies[1].message.content == replies[2].message.content
    assert replies[0].raw["prompt"] == replies[1].raw["prompt"]  # type: ignore[index]


# Arguments of the components.


@pytest.mark.parametrize("name", ["model", "model_name", "model_id"])
def test_a_folder_is_loaded_by_every_name_that_hosts_give_it(
    name: str, folder: Path, model: OneGenModel
) -> None:
    for make in (OneGenLLM, OneGenEmbedding):
        given: dict[str, Any] = {name: str(folder)}
        assert make(**given).shared.model is model


def test_the_name_in_events_does_not_choose_the_model(folder: Path, model: OneGenModel) -> None:
    labelled = OneGenEmbedding(model=folder, model_name="my embeddings")
    assert labelled.shared.model is model
    again = OneGenEmbedding.from_dict(labelled.to_dict())
    assert (again.model_name, again.shared.model) == ("my embeddings", model)
    assert OneGenEmbedding.from_dict(OneGenEmbedding().to_dict()).model is None


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens"])
def test_the_longest_answer_may_have_the_hosts_names(name: str, folder: Path) -> None:
    given: dict[str, Any] = {name: 5}
    llm = OneGenLLM(model=folder, **given)
    assert llm.max_tokens == 5
    assert llm.metadata.num_output == 5
    assert llm.complete("Hello.").raw["written"] <= 5  # type: ignore[index]


@pytest.mark.parametrize(
    ("make", "given", "problem"),
    [
        (OneGenLLM, {"temprature": 0.5}, "no argument 'temprature'; expected 'temperature'"),
        (OneGenLLM, {"context_window": 99}, "no argument 'context_window'; expected"),
        (OneGenLLM, {"max_tokens": 5, "max_new_tokens": 6}, "mean the same; expected one"),
        (OneGenEmbedding, {"modell": "x"}, "no argument 'modell'; expected 'model'"),
        (OneGenEmbedding, {"embed_batch": 5}, "no argument 'embed_batch'; expected"),
        (PassageParser, {"chunk_length": 5}, "no option 'chunk_length'; expected"),
    ],
)
def test_a_misspelt_argument_of_a_component_is_refused(
    make: Any, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        make(**given)


def test_a_misspelt_option_of_an_engine_is_refused_with_the_nearest_name(
    index: VectorStoreIndex, llm: OneGenLLM
) -> None:
    odd: dict[str, Any] = {"max_retrieval": 3}
    for make in (OneGenQueryEngine, OneGenRetriever, OneGenChatEngine):
        with pytest.raises(InvalidInputError, match="'max_retrieval'; expected 'max_retrievals'"):
            make.from_index(index, llm, **odd)
