"""What a call is given: what counts for the cache, what is refused, and what comes first."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenLLM, OneGenRetriever
from onegen_integrations.langchain.calls import identity_of, plain, require_known
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


def test_a_cache_tells_functions_apart(chat: OneGenChatModel) -> None:
    chat.cache = InMemoryCache()
    for title in ("Alba", "Brig", "Alba", "Brig"):
        assert found(chat.invoke(QUESTION, filter=make_filter(title))) == [[title]]
        gc.collect()  # the next function gets the address of the last
        assert found(chat.model_copy(update={"filter": make_filter(title)}).invoke(QUESTION)) == [
            [title]
        ]
        gc.collect()


def test_only_what_is_data_has_a_name_that_lasts() -> None:
    class Slotted:
        __slots__ = ()

    assert plain({"a": (1, {"b": [None, "x"]})}) == {"a": [1, {"b": [None, "x"]}]}
    one, other = make_filter("Alba"), make_filter("Alba")
    assert plain([one]) == plain((one,)) != plain([other])
    assert identity_of(slotted := Slotted()) != identity_of(slotted), "its end is not noticed"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_options_of_a_call_count_for_the_cache_of_texts(
    asynchronous: bool, llm: OneGenLLM, model: OneGenModel
) -> None:
    def ask(**called: Any) -> str:
        if asynchronous:
            return asyncio.run(llm.ainvoke(QUESTION, **called))
        return llm.invoke(QUESTION, **called)

    llm.cache = InMemoryCache()
    engine: Any = model.engine
    assert ask() == "by Ann END so"
    assert ask(retrieval="never").startswith("Who founded Alba?")
    assert ask(max_tokens=3) != ask(max_tokens=2)
    steps = engine.steps
    assert ask(retrieval="never").startswith("Who founded Alba?")
    assert ask(config={"tags": ["one"], "run_name": "two"}) == "by Ann END so"
    assert engine.steps == steps, "from the cache"


def test_what_looks_like_an_option_is_refused(
    attached: dict[str, Any], chat: OneGenChatModel, llm: OneGenLLM
) -> None:
    for one in (chat, llm, OneGenRetriever(**attached)):
        with pytest.raises(InvalidInputError, match="'fliter' in a call; expected 'filter'"):
            one.invoke(QUESTION, None, fliter={"title": "Alba"})


def test_words_of_others_are_not_ours() -> None:
    others = "n model strict timeout max_retries parallel_tool_calls stream_usage logit_bias"
    others += " min_p top_logprobs max_output_tokens max_completion_tokens reasoning thinking"
    require_known([*others.split(), *option_names(), "tools", "stop"], option_names())


def test_a_string_is_one_stop(attached: dict[str, Any], chat: OneGenChatModel) -> None:
    one: Any = "END"
    assert chat.invoke(QUESTION, stop=one).text == "by Ann"
    assert chat.invoke(QUESTION, stop_sequences=["END"]).text == "by Ann"
    assert OneGenChatModel(**attached, stop=one).invoke(QUESTION).text == "by Ann"
    assert OneGenLLM(**attached, stop_sequences=one).invoke(QUESTION) == "by Ann"


def test_no_passages_at_all_cannot_be_asked_for(
    attached: dict[str, Any], chat: OneGenChatModel
) -> None:
    with pytest.raises(InvalidInputError, match="top_k=0; expected at least 1"):
        chat.invoke(QUESTION, k=0)
    with pytest.raises(InvalidInputError, match="top_k=0; expected at least 1"):
        OneGenRetriever(**attached, k=0).invoke(QUESTION)


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


def test_a_call_says_what_becomes_of_errors(wide_folder: Path, model: OneGenModel) -> None:
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
async def test_an_event_loop_is_not_held_up_by_loading(
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
