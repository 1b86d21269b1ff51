"""Many inputs at once: as many threads as the device has rows, and one retrieval for all."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenLLM
from onegen_integrations.langchain.tracing import MAX_ROWS, bounded
from onegen_integrations.langchain.turns import SourceRetriever
from onegen_model import OneGenModel, Query
from onegen_model.errors import RetrievalError
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURNS = {QUESTION: "Who founded Alba?[RQ]<FINAL-ANSWER>Ann</FINAL-ANSWER>"}
PROMPTS = [f"{n}. {QUESTION}" for n in range(4)]


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what retrievers are asked together."""
    sizes: list[int] = []
    ask, aask = SourceRetriever.retrieve, SourceRetriever.aretrieve

    def retrieve(self: SourceRetriever, queries: Sequence[Query]) -> Any:
        sizes.append(len(queries))
        return ask(self, queries)

    async def aretrieve(self: SourceRetriever, queries: Sequence[Query]) -> Any:
        sizes.append(len(queries))
        return await aask(self, queries)

    monkeypatch.setattr(SourceRetriever, "retrieve", retrieve)
    monkeypatch.setattr(SourceRetriever, "aretrieve", aretrieve)
    return sizes


def test_a_batch_of_5000_inputs_asks_for_no_more_threads_than_rows() -> None:
    (config, *_) = bounded(None, 5000)
    assert config["max_concurrency"] == MAX_ROWS
    assert bounded({"max_concurrency": 3}, 5000)[0]["max_concurrency"] == 3
    assert bounded(None, 2)[0]["max_concurrency"] == 2


def test_threads_of_a_batch_are_counted(wide_folder: Path, model: OneGenModel) -> None:
    seen: list[int] = []
    before = threading.active_count()

    class Count(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, **__: Any) -> None:
            seen.append(threading.active_count() - before)

    chat = OneGenChatModel(model=wide_folder, max_tokens=1)
    chat.batch(["Hello?"] * 150, {"callbacks": [Count()]})
    assert len(seen) == 150
    assert max(seen) <= MAX_ROWS


@pytest.mark.parametrize("asynchronous", [False, True])
def test_retrievals_of_one_batch_are_one_search(
    asynchronous: bool,
    wide_folder: Path,
    model: OneGenModel,
    store: InMemoryVectorStore,
    batches: list[int],
) -> None:
    llm = OneGenLLM(model=wide_folder, vectorstore=store, k=1, max_tokens=100)
    reply = asyncio.run(llm.agenerate(PROMPTS)) if asynchronous else llm.generate(PROMPTS)
    assert [one[0].text for one in reply.generations] == ["Ann"] * 4
    assert batches == [4]


class Places(BaseRetriever):
    """Knows Alba; fails for what it does not know."""

    known: str = "Alba"

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        if self.known not in query:
            raise OSError("not on the map")
        return [Document(f"{self.known} is a town.", id=self.known)]


def test_a_search_that_fails_fails_its_own_request_alone(
    wide_folder: Path, tiny: OneGenModel, batches: list[int]
) -> None:
    chat = OneGenChatModel(model=wide_folder, retriever=Places(), max_tokens=100)
    lost = "Where is Brig?[RQ]<FINAL-ANSWER>no</FINAL-ANSWER>"
    searched: list[str] = []

    class Record(BaseCallbackHandler):
        def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
            if kwargs.get("name") == "onegen_retrieve":
                searched.append(query)

    with scripted(tiny, {QUESTION: TURNS[QUESTION], "Lost?": lost}):
        reply: Any = chat.batch(
            [*PROMPTS, "Lost?"], {"callbacks": [Record()]}, return_exceptions=True
        )
        *found, failed = reply
        assert [message.text for message in found] == ["Ann"] * 4
        assert isinstance(failed, RetrievalError)
        assert str(failed).startswith("Places raised OSError: not on the map; expected documents")
        skipped: Any = chat.batch([*PROMPTS, "Lost?"], on_retrieval_error="continue")
    assert sorted(searched) == ["Where is Brig?"] + ["Who founded Alba?"] * 4, "each once"
    states = [
        block["status"]
        for message in skipped
        for block in message.content
        if block["type"] == "server_tool_result"
    ]
    assert states == ["success"] * 4 + ["error"]


def test_requests_of_one_batch_keep_their_own_filters(
    wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    chat = OneGenChatModel(model=wide_folder, vectorstore=store, max_tokens=100)
    wanted = ["Alba", "Brig"] * 4

    async def ask() -> list[Any]:
        calls = (chat.ainvoke(QUESTION, filter={"title": title}) for title in wanted)
        return list(await asyncio.gather(*calls))

    found = [
        [passage["id"] for passage in block["output"]]
        for message in asyncio.run(ask())
        for block in message.content
        if block["type"] == "server_tool_result"
    ]
    assert found == [[title] for title in wanted]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_retrieval_is_reported_to_the_callbacks_of_its_own_prompt(
    asynchronous: bool, wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore
) -> None:
    class Record(BaseCallbackHandler):
        def __init__(self) -> None:
            self.runs: list[Any] = []
            self.parents: list[Any] = []

        def on_llm_start(self, *_: Any, run_id: Any, **__: Any) -> None:
            self.runs.append(run_id)

        def on_retriever_start(self, *_: Any, parent_run_id: Any, **__: Any) -> None:
            self.parents.append(parent_run_id)

    llm = OneGenLLM(model=wide_folder, vectorstore=store, k=1, max_tokens=100)
    handlers = [Record() for _ in PROMPTS]
    configs: Any = [{"callbacks": [handler]} for handler in handlers]
    if asynchronous:
        asyncio.run(llm.abatch(PROMPTS, configs))
    else:
        llm.batch(PROMPTS, configs)
    for handler in handlers:
        assert len(handler.runs) == 1
        assert handler.parents == handler.runs
