"""Each retrieval is a run below the model's, however the model is called."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.graph import START, MessagesState, StateGraph

from onegen_integrations.langchain import OneGenChatModel, OneGenRetriever
from onegen_model import OneGenModel
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURN = "Who founded Alba?[RQ]Ann.\nWho founded Brig?[RQ]Bob.\n<FINAL-ANSWER> Ann</FINAL-ANSWER>"
STEPS = ["Who founded Alba?", "Who founded Brig?"]


class Tracer(BaseTracer):
    """Keeps the roots."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


@pytest.fixture
def chat(
    wide_folder: Path, tiny: OneGenModel, store: InMemoryVectorStore
) -> Iterator[OneGenChatModel]:
    with scripted(tiny, {QUESTION: TURN}):
        yield OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=100)


async def collect(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


async def collect_v3(stream: Awaitable[AsyncIterable[Any]]) -> list[Any]:
    return await collect(await stream)


def chain(chat: OneGenChatModel) -> Any:
    return RunnableLambda(lambda text: [HumanMessage(text)]) | chat


def graph(chat: OneGenChatModel) -> Any:
    async def answer_async(state: MessagesState) -> Any:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    def answer(state: MessagesState) -> Any:
        return {"messages": [chat.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", RunnableLambda(answer, answer_async))
    builder.add_edge(START, "answer")
    return builder.compile()


STATE = {"messages": [HumanMessage(QUESTION)]}
PATHS: dict[str, Callable[[Any, RunnableConfig], Any]] = {
    "invoke": lambda chat, config: chat.invoke(QUESTION, config),
    "ainvoke": lambda chat, config: asyncio.run(chat.ainvoke(QUESTION, config)),
    "stream": lambda chat, config: list(chat.stream(QUESTION, config)),
    "astream": lambda chat, config: asyncio.run(collect(chat.astream(QUESTION, config))),
    "batch": lambda chat, config: chat.batch([QUESTION], config),
    "abatch": lambda chat, config: asyncio.run(chat.abatch([QUESTION], config)),
    "events v2": lambda chat, config: asyncio.run(
        collect(chat.astream_events(QUESTION, config, version="v2"))
    ),
    "events v3": lambda chat, config: list(chat.stream_events(QUESTION, config, version="v3")),
    "async events v3": lambda chat, config: asyncio.run(
        collect_v3(chat.astream_events(QUESTION, config, version="v3"))
    ),
    "chain": lambda chat, config: chain(chat).invoke(QUESTION, config),
    "chain, stream": lambda chat, config: list(chain(chat).stream(QUESTION, config)),
    "chain, astream": lambda chat, config: asyncio.run(
        collect(chain(chat).astream(QUESTION, config))
    ),
    "chain, events v2": lambda chat, config: asyncio.run(
        collect(chain(chat).astream_events(QUESTION, config, version="v2"))
    ),
    "graph": lambda chat, config: graph(chat).invoke(STATE, config),
    "graph, ainvoke": lambda chat, config: asyncio.run(graph(chat).ainvoke(STATE, config)),
    "graph, messages": lambda chat, config: list(
        graph(chat).stream(STATE, config, stream_mode="messages")
    ),
    "graph, async messages": lambda chat, config: asyncio.run(
        collect(graph(chat).astream(STATE, config, stream_mode="messages"))
    ),
}


def below(run: Run) -> Iterator[Run]:
    yield run
    for child in run.child_runs:
        yield from below(child)


@pytest.mark.parametrize("path", PATHS)
def test_retrievals_are_children_of_the_models_run(path: str, chat: OneGenChatModel) -> None:
    tracer = Tracer()
    PATHS[path](chat, {"callbacks": [tracer], "tags": ["mine"], "metadata": {"user": "7"}})
    (root,) = tracer.roots
    runs = list(below(root))
    (model,) = (run for run in runs if run.run_type in ("llm", "chat_model"))
    retrievals = [run for run in runs if run.run_type == "retriever"]
    assert retrievals == model.child_runs
    assert [run.inputs["query"] for run in retrievals] == STEPS
    for run in retrievals:
        assert run.name == "onegen_retrieve"
        assert run.parent_run_id == model.id
        assert run.trace_id == root.id
        assert "mine" in (run.tags or [])
        assert run.extra["metadata"]["user"] == "7"
        assert len(run.outputs["documents"]) == 1
        assert not run.error


def test_calls_of_many_threads_keep_their_own_retrievals(chat: OneGenChatModel) -> None:
    tracer = Tracer()
    chat.batch([f"{n}. {QUESTION}" for n in range(8)], {"callbacks": [tracer]})
    assert len(tracer.roots) == 8
    for root in tracer.roots:
        assert [run.inputs["query"] for run in root.child_runs] == STEPS


def test_nothing_of_a_run_leaks_to_who_reads_its_stream(chat: OneGenChatModel) -> None:
    tracer = Tracer()
    stream = chat.stream(QUESTION, {"callbacks": [tracer]})
    next(stream)
    chat.invoke(QUESTION)  # with no callbacks of its own
    list(stream)
    (root,) = tracer.roots
    assert [run.inputs["query"] for run in root.child_runs] == STEPS


def test_a_store_that_raises_is_seen_in_its_run(
    chat: OneGenChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(InMemoryVectorStore, "similarity_search_with_score_by_vector", fail)
    chat.on_retrieval_error, tracer = "continue", Tracer()
    chat.invoke(QUESTION, {"callbacks": [tracer]})
    (root,) = tracer.roots
    assert all("the disk is gone" in str(run.error) for run in root.child_runs)
    assert len(root.child_runs) == 2
    assert root.error is None


def test_a_retriever_inside_has_its_run_below(
    chat: OneGenChatModel, store: InMemoryVectorStore
) -> None:
    class Words(type(store.as_retriever())):  # type: ignore[misc]
        """More than its store: it is asked with text."""

    chat.vectorstore, chat.retriever = None, Words(vectorstore=store, search_kwargs={"k": 1})
    tracer = Tracer()
    chat.invoke(QUESTION, {"callbacks": [tracer]})
    (root,) = tracer.roots
    for run in root.child_runs:
        assert [child.run_type for child in run.child_runs] == ["retriever"]
        assert run.child_runs[0].name == "Words"


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_hops_of_the_retriever_are_runs_below_its_own(
    is_asynchronous: bool, chat: OneGenChatModel, store: InMemoryVectorStore
) -> None:
    retriever, tracer = OneGenRetriever(model=chat.model, vectorstore=store, k=1), Tracer()
    config: RunnableConfig = {"callbacks": [tracer], "tags": ["mine"]}
    if is_asynchronous:
        asyncio.run(retriever.ainvoke(QUESTION, config))
    else:
        retriever.invoke(QUESTION, config)
    (root,) = tracer.roots
    assert root.name == "OneGenRetriever"
    assert [run.inputs["query"] for run in root.child_runs] == STEPS
    assert all("mine" in (run.tags or []) for run in root.child_runs)
