"""Options of a call: the key of the cache, refusals, and precedence."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenLLM, OneGenRetriever
from onegen_integrations.langchain.calls import identity_of, plain, read_options
from onegen_integrations.langchain.fields import option_names
from onegen_integrations.shared import models as shared
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError, RetrievalError
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURNS = {QUESTION: "Who founded Alba?[RQ]Ann did.\n<FINAL-ANSWER> by Ann END so </FINAL-ANSWER>"}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def attached(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> dict[str, Any]:
    return {"model": wide_folder, "vectorstore": store, "max_tokens": 100}


@pytest.fixture
def chat(attached: dict[str, Any]) -> OneGenChatModel:
    return OneGenChatModel(**attached)


@pytest.fixture
def llm(attached: dict[str, Any]) -> OneGenLLM:
    return OneGenLLM(**attached)


def found(message: Any) -> list[list[str]]:
    """The ids of each retrieval."""
    blocks = [one for one in message.content if one["type"] == "server_tool_result"]
    return [[passage["id"] for passage in one["output"]] for one in blocks]


def make_filter(title: str) -> Callable[[Document], bool]:
    return lambda document: document.metadata["title"] == title


def correct(store: InMemoryVectorStore) -> None:
    store.add_documents(
        [Document(id="Alba", page_content="Alba\nIt was founded by Eve.", metadata={})]
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_cached_answer_does_not_survive_a_corrected_document(
    asynchronous: bool, chat: OneGenChatModel, store: InMemoryVectorStore
) -> None:
    def ask() -> str:
        message = asyncio.run(chat.ainvoke(QUESTION)) if asynchronous else chat.invoke(QUESTION)
        return str(message.content)

    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        assert "Ann." in ask()
        correct(store)
        assert "Eve." in ask()
        chat.cache = cache
        assert "Eve." in ask()
    finally:
        set_llm_cache(None)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_cached_text_does_not_survive_a_corrected_document(
    asynchronous: bool, llm: OneGenLLM, model: OneGenModel, wide_forwards: list[object]
) -> None:
    llm.cache = InMemoryCache()
    for _ in range(2):
        wide_forwards.clear()
        asyncio.run(llm.ainvoke(QUESTION)) if asynchronous else llm.invoke(QUESTION)
        assert wide_forwards, "answered again"


def test_without_a_search_answers_are_cached(
    chat: OneGenChatModel, wide_forwards: list[object]
) -> None:
    chat.cache = InMemoryCache()
    first = chat.invoke(QUESTION, retrieval="never")
    wide_forwards.clear()
    assert chat.invoke(QUESTION, retrieval="never").content == first.content
    assert not wide_forwards
    chat.invoke(QUESTION, retrieval="never", max_tokens=3)
    assert wide_forwards, "a call's own options count"


def test_only_data_has_a_lasting_name() -> None:
    class Slotted:
        __slots__ = ()

    assert plain({"a": (1, {"b": [None, "x"]})}) == {"a": [1, {"b": [None, "x"]}]}
    one, other = make_filter("Alba"), make_filter("Alba")
    assert plain([one]) == plain((one,)) != plain([other])
    assert identity_of(slotted := Slotted()) != identity_of(slotted), "its end is not noticed"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_options_of_a_call_count_for_the_cache_of_texts(
    asynchronous: bool, llm: OneGenLLM, wide_forwards: list[object]
) -> None:
    def ask(**called: Any) -> str:
        if asynchronous:
            return asyncio.run(llm.ainvoke(QUESTION, **called))
        return llm.invoke(QUESTION, **called)

    llm.cache, llm.vectorstore = InMemoryCache(), None
    whole = ask()
    assert whole.startswith("Who founded Alba?")
    assert ask(max_tokens=3) != ask(max_tokens=2)
    wide_forwards.clear()
    assert ask() == whole
    assert ask(config={"tags": ["one"], "run_name": "two"}) == whole
    assert not wide_forwards, "from the cache"


def test_a_misspelt_option_of_a_retriever_is_refused(attached: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="'fliter' in a call; expected 'filter'"):
        OneGenRetriever(**attached).invoke(QUESTION, None, fliter={"title": "Alba"})


@pytest.mark.parametrize(
    ("called", "message"),
    [
        ({"n": 2}, "Option n=2 in a call; expected n=1"),
        ({"strict": True}, "Option strict=True in a call"),
        ({"logit_bias": {}}, "Unknown option 'logit_bias' in a call; expected one of"),
        ({"vectorstore": None, "model": "other"}, "Unknown option 'model'"),
        ({"fliter": {"title": "Alba"}}, "'fliter' in a call; expected 'filter'; correct its name"),
        ({"k": 0}, "k=0; expected at least 1"),
    ],
)
def test_an_option_that_would_be_ignored_silently_is_refused_by_name(
    called: dict[str, Any], message: str, chat: OneGenChatModel, llm: OneGenLLM
) -> None:
    for one in (chat, llm):
        with pytest.raises(InvalidInputError, match=message):
            one.bind(**called).invoke(QUESTION)
    with pytest.raises(InvalidInputError, match="logprobs=True in a call; expected logprobs=False"):
        llm.invoke(QUESTION, logprobs=True)


def test_options_of_other_models_that_change_nothing_are_accepted() -> None:
    known = option_names()
    neutral = {"n": 1, "logprobs": False, "stream_usage": True, "top_logprobs": None}
    assert read_options({**neutral, "seed": 3}, known) == {"seed": 3}
    assert read_options({"max_completion_tokens": 4}, known) == {"max_tokens": 4}


def test_a_string_is_one_stop(attached: dict[str, Any], chat: OneGenChatModel) -> None:
    one: Any = "END"
    assert chat.invoke(QUESTION, stop=one).text == "by Ann"
    assert chat.invoke(QUESTION, stop_sequences=["END"]).text == "by Ann"
    assert OneGenChatModel(**attached, stop=one).invoke(QUESTION).text == "by Ann"
    assert OneGenLLM(**attached, stop_sequences=one).invoke(QUESTION) == "by Ann"


@pytest.mark.parametrize("kind", [OneGenChatModel, OneGenLLM, OneGenRetriever])
def test_k_of_0_is_refused_when_the_component_is_made(kind: Any, attached: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="k=0; expected at least 1"):
        kind(**attached, k=0)
    with pytest.raises(ValueError, match="max_retrievals=-1; expected a whole number"):
        kind(**attached, max_retrievals=-1)


class Five(BaseRetriever):
    """Knows itself how much to return."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(f"Page {n}.", id=str(n)) for n in range(5)]


def test_a_retriever_of_text_is_cut_only_if_asked_to(wide_folder: Path, model: OneGenModel) -> None:
    chat = OneGenChatModel(model=wide_folder, retriever=Five(), max_tokens=100)
    assert found(chat.invoke(QUESTION)) == [["0", "1", "2", "3", "4"]]
    assert found(chat.invoke(QUESTION, k=3)) == [["0", "1", "2"]]


class Broken(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        raise OSError("the disk is gone")


def test_a_call_decides_how_errors_are_handled(wide_folder: Path, model: OneGenModel) -> None:
    attached: Any = {"model": wide_folder, "retriever": Broken(), "max_tokens": 100}
    chat, llm, retriever = (
        one(**attached) for one in (OneGenChatModel, OneGenLLM, OneGenRetriever)
    )
    for one in (chat, llm, retriever):
        with pytest.raises(RetrievalError, match="the disk is gone"):
            one.invoke(QUESTION)
        with pytest.raises(InvalidInputError, match="on_retrieval_error='skip'; expected 'raise'"):
            one.invoke(QUESTION, None, on_retrieval_error="skip")
    assert chat.invoke(QUESTION, on_retrieval_error="continue").text == "by Ann END so"
    assert llm.invoke(QUESTION, on_retrieval_error="continue") == "by Ann END so"
    assert retriever.invoke(QUESTION, None, on_retrieval_error="continue") == []


@pytest.mark.parametrize("kind", [OneGenChatModel, OneGenLLM, OneGenRetriever])
async def test_loading_does_not_block_the_event_loop(
    kind: Any,
    attached: dict[str, Any],
    model: OneGenModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def load(key: Any) -> OneGenModel:
        threads.append(threading.current_thread())
        return model

    monkeypatch.setattr(shared, "_load", load)
    one = kind(**attached)
    if kind is not OneGenRetriever:
        one.cache = InMemoryCache()
    await one.ainvoke(QUESTION)
    assert threads[0] is not threading.current_thread()
