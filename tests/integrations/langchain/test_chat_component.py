"""OneGenChatModel as a component: copied, dumped, cached, configured, and with invalid input."""

import asyncio
import copy
import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenLLM,
    OneGenRetriever,
)
from onegen_integrations.shared import models as shared
from onegen_model import OneGenModel
from onegen_model.errors import ContextTooLongError, InvalidInputError, RetrievalError
from tests.support.chats import PATHS, QUESTION, TURNS, content_of
from tests.support.script import scripted


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def chat(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=400)


def test_all_forms_of_a_component_share_one_load(
    wide_folder: Path, store: InMemoryVectorStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loads: list[object] = []
    original = OneGenModel.from_pretrained

    def count(*arguments: Any, **options: Any) -> OneGenModel:
        loads.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(shared.OneGenModel, "from_pretrained", count)
    monkeypatch.setattr(shared, "_models", {})
    folder = tmp_path / "copy"
    shutil.copytree(wide_folder, folder)
    chat = OneGenChatModel(model=folder)
    whole: list[Any] = [
        chat,
        OneGenChatModel(model=str(folder)),
        OneGenLLM(model=folder),
        OneGenEmbeddings(model=folder),
        OneGenRetriever(model=folder, vectorstore=store),
        pickle.loads(pickle.dumps(chat)),
        copy.deepcopy(chat),
        chat.model_copy(deep=True),
        load(dumpd(chat), allowed_objects=[OneGenChatModel], valid_namespaces=NAMESPACES),
    ]
    assert loads == [], "nothing is loaded before it is needed"
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda one: one.shared.model, whole))
    assert len(loads) == 1
    assert len(set(map(id, models))) == 1
    configurable = chat.configurable_fields(temperature=ConfigurableField("heat"))
    for heat in (0.0, 0.5, 1.0):
        configurable.with_config(configurable={"heat": heat}).invoke("Guess!", max_tokens=4)
    assert len(loads) == 1


NAMESPACES = ["onegen_integrations"]


def test_a_dumped_component_is_loaded_unchanged(wide_folder: Path) -> None:
    chat = OneGenChatModel(model=str(wide_folder), temperature=0.5, stop=["."], k=3, seed=1)
    again = load(dumpd(chat), allowed_objects=[OneGenChatModel], valid_namespaces=NAMESPACES)
    assert again == chat


def test_a_pickle_holds_no_weights(chat: OneGenChatModel) -> None:
    again = pickle.loads(pickle.dumps(chat))
    assert content_of(again.invoke(QUESTION)) == content_of(chat.invoke(QUESTION))
    chat.vectorstore = None
    assert len(pickle.dumps(chat)) < 2048


def test_a_configured_copy_keeps_what_it_searches(chat: OneGenChatModel) -> None:
    configurable = chat.configurable_fields(max_tokens=ConfigurableField("longest"))
    short = configurable.with_config(configurable={"longest": 10}).invoke(QUESTION)
    whole = configurable.invoke(QUESTION)
    assert short.usage_metadata["output_tokens"] == 10
    assert short.response_metadata["finish_reason"] == "length"
    assert content_of(whole) == content_of(chat.invoke(QUESTION))
    assert isinstance(whole.content, list)


class Broken(InMemoryVectorStore):
    def similarity_search_with_score_by_vector(self, *_: Any, **__: Any) -> Any:
        raise OSError("the disk is gone")


@pytest.fixture
def broken(wide_folder: Path, chat: OneGenChatModel) -> OneGenChatModel:
    chat.vectorstore = Broken(OneGenEmbeddings(model=wide_folder))
    chat.vectorstore.add_texts(["never seen"])
    return chat


def test_a_store_that_raises_is_an_error_of_the_call(broken: OneGenChatModel) -> None:
    with pytest.raises(RetrievalError, match="the disk is gone"):
        broken.invoke(QUESTION)
    with pytest.raises(RetrievalError, match="the disk is gone"):
        list(broken.stream(QUESTION))
    with pytest.raises(RetrievalError, match="the disk is gone"):
        asyncio.run(broken.ainvoke(QUESTION))


@pytest.mark.parametrize("path", ["stream", "astream"])
def test_an_answer_may_continue_after_a_failed_retrieval_and_report_it(
    path: str, broken: OneGenChatModel
) -> None:
    broken.on_retrieval_error = "continue"
    message = PATHS[path](broken, QUESTION)
    assert message.text == "founded by Ann"
    results = [one for one in message.content_blocks if one["type"] == "server_tool_result"]
    assert [one["status"] for one in results] == ["error", "error"]
    assert all(one["output"] == "OSError: the disk is gone" for one in results)
    assert "annotations" not in message.content_blocks[-1]


def test_stops_and_seeds_are_those_of_the_call_or_of_the_model(chat: OneGenChatModel) -> None:
    assert chat.invoke(QUESTION, stop=[" by"]).text == "founded"
    chat.stop = ["founded b"]
    assert chat.invoke(QUESTION).response_metadata["finish_reason"] == "stop"
    assert chat.invoke(QUESTION, stop=[]).text == "founded by Ann"
    chat.stop = None
    # "Anything" is not scripted.
    hot = {"temperature": 2.0, "max_tokens": 20, "retrieval": "never"}
    one, same, other = (chat.invoke("Anything", seed=seed, **hot).text for seed in (1, 1, 2))
    assert one == same != other


def test_tokens_are_counted_without_anything_downloaded(
    chat: OneGenChatModel, model: OneGenModel
) -> None:
    assert chat.get_num_tokens("Who founded Alba?") == model.count_tokens("Who founded Alba?")
    assert chat.get_num_tokens_from_messages([HumanMessage("Who?")]) > 0


def test_the_profile_has_what_agents_ask_for(chat: OneGenChatModel) -> None:
    profile: Any = chat.profile
    assert profile["tool_calling"]
    assert profile["tool_choice"]
    assert not profile["structured_output"], "a response_format leaves no way to call a tool"


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
REMOTE = [{"type": "server_tool_call", "id": "1", "name": "web_search", "args": {}}]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no message of a user"),
        ([("system", "Be brief.")], "no message of a user; expected at least one; ask"),
        ([("human", " ")], "question is empty"),
        ([HumanMessage(IMAGE)], "block of type 'image_url'; expected text"),
        ([("human", "a"), AIMessage(REMOTE), ("human", "b")], "server tool call of 'web_search'"),
    ],
)
def test_messages_that_cannot_be_answered_are_one_error(
    messages: Any, message: str, chat: OneGenChatModel
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        chat.invoke(messages)
    with pytest.raises(InvalidInputError, match=message):
        list(chat.stream(messages))
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(chat.ainvoke(messages))


def test_a_context_too_long_is_one_error(chat: OneGenChatModel) -> None:
    with pytest.raises(ContextTooLongError, match="context of 4096; shorten it"):
        chat.invoke("why " * 5000)


def test_options_that_contradict_are_one_error(
    wide_folder: Path, store: InMemoryVectorStore, chat: OneGenChatModel
) -> None:
    with pytest.raises(ValueError, match="a vectorstore and a retriever; expected one"):
        OneGenChatModel(vectorstore=store, retriever=store.as_retriever())
    with pytest.raises(InvalidInputError, match='"always" without a vectorstore'):
        OneGenChatModel(model=wide_folder, retrieval="always").invoke(QUESTION)
    with pytest.raises(InvalidInputError, match=r"temperature=-1.*; change temperature"):
        chat.invoke(QUESTION, temperature=-1)
    with pytest.raises(InvalidInputError, match=r"mode='often'"):
        chat.invoke(QUESTION, retrieval="often")
