"""OneGenQueryEngine: one answer, however it is asked for, and no bad input."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import QueryBundle, Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation.events.query import QueryEndEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor

from onegen_integrations.llama_index import OneGenLLM, OneGenQueryEngine, OneGenRetriever
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.conftest import Build, Positions, Recorder
from tests.integrations.llama_index.scripted_queries import (
    LONG,
    QUESTION,
    TURNS,
    ByText,
    Drop,
    Gate,
    plain,
    titles,
)
from tests.support.script import scripted


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 400
    with scripted(model, TURNS):
        yield model


@pytest.fixture
def engine(index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel) -> OneGenQueryEngine:
    return OneGenQueryEngine.from_index(index, llm)


async def by_astream(engine: OneGenQueryEngine) -> Any:
    return await (await engine.aquery(QUESTION)).get_response()  # type: ignore[union-attr]


PATHS: dict[str, tuple[bool, Callable[[OneGenQueryEngine], Any]]] = {
    "aquery": (False, lambda engine: asyncio.run(engine.aquery(QUESTION))),
    "stream": (True, lambda engine: engine.query(QUESTION).get_response()),  # type: ignore
    "astream": (True, lambda engine: asyncio.run(by_astream(engine))),
    "bundle": (False, lambda engine: engine.query(QueryBundle(QUESTION))),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("store", ["chroma l2", "faiss ip"])
def test_every_method_returns_the_same(
    path: str, store: str, indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = indexed(store)
    expected = plain(OneGenQueryEngine.from_index(index, llm).query(QUESTION))
    script.engine.forget()
    streaming, ask = PATHS[path]
    reply = ask(OneGenQueryEngine.from_index(index, llm, streaming=streaming))
    assert plain(reply) == expected


def test_a_response_holds_answer_nodes_hops_and_steps(engine: OneGenQueryEngine) -> None:
    response: Any = engine.query(QUESTION)
    assert response.response == "Brig"
    assert len(response.source_nodes) == 4
    assert len(set(titles(response.source_nodes))) == 4, "no node is in the context twice"
    hops, steps = response.metadata["hops"], response.metadata["steps"]
    assert [hop["query"] for hop in hops] == ["Wheels of Alba?", "Of Brig?"]
    reply = [node_id for hop in hops for node_id in hop["node_ids"]]
    assert reply == [one.node.node_id for one in response.source_nodes]
    assert steps == ["Wheels of Alba?", "3.", "Of Brig?", "4."]
    assert response.metadata["usage"]["finish_reason"] == "end"


@pytest.mark.parametrize("streaming", [False, True])
def test_every_position_is_read_once_and_no_query_is_embedded(
    streaming: bool, index: VectorStoreIndex, llm: OneGenLLM, script: Any, positions: Positions
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm, streaming=streaming)
    positions.count = 0
    response: Any = engine.query(QUESTION)
    assert response.source_nodes or streaming
    usage = (response.get_response() if streaming else response).metadata["usage"]
    assert usage["retrievals"] == 2
    assert positions.count == usage["forwarded"]
    assert usage["forwarded"] == usage["prompt"] + usage["written"] + usage["inserted"] - 1


@pytest.mark.parametrize("kind", ["query", "aquery", "stream", "astream"])
def test_events_come_once_for_each_hop_and_none_of_embedding(
    kind: str, build: Build, llm: OneGenLLM, script: Any, recorder: Recorder
) -> None:
    index = build("faiss ip")
    handler = LlamaDebugHandler(print_trace_on_end=False)
    Settings.callback_manager = index._callback_manager = CallbackManager([handler])
    engine = OneGenQueryEngine.from_index(index, llm, streaming="stream" in kind)
    recorder.events.clear()
    ask = {"query": lambda engine: engine.query(QUESTION), **{k: f for k, (_, f) in PATHS.items()}}
    ask[kind](engine)
    counts = recorder.counts()
    assert counts.pop("LLMChatInProgressEvent", 2) > 1
    assert counts == {
        **{f"{name}{end}Event": 1 for name in ("Query", "LLMChat") for end in ("Start", "End")},
        "RetrievalStartEvent": 2,
        "RetrievalEndEvent": 2,
    }
    for event in recorder.events:
        if not isinstance(event, QueryEndEvent):  # may hold a generator
            assert event.model_dump_json(), "handlers write events to files"
    expected = {CBEventType.QUERY: 1, CBEventType.LLM: 1, CBEventType.RETRIEVE: 2}
    for kind_of, times in expected.items():
        assert len(handler.get_event_pairs(kind_of)) == times
    assert not handler.get_event_pairs(CBEventType.EMBEDDING)


def test_source_nodes_fill_while_the_answer_streams(
    index: VectorStoreIndex, llm: OneGenLLM, script: Any
) -> None:
    response: Any = OneGenQueryEngine.from_index(index, llm, streaming=True).query(QUESTION)
    assert response.source_nodes == []
    seen = [(text, len(response.source_nodes)) for text in response.response_gen]
    assert "".join(text for text, _ in seen) == "Brig"
    assert seen[0][1] == 4, "before the first word of the answer"
    assert response.metadata["usage"]["retrievals"] == 2


async def test_source_nodes_fill_while_the_answer_streams_asynchronously(
    index: VectorStoreIndex, llm: OneGenLLM, script: Any
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm, streaming=True)
    response: Any = await engine.aquery(QUESTION)
    assert response.source_nodes == []
    seen = [len(response.source_nodes) async for _ in response.async_response_gen()]
    assert seen[0] == 4


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_event_loop_is_not_blocked_by_a_query(
    streaming: bool,
    build: Build,
    llm: OneGenLLM,
    script: OneGenModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, gate, readers = build("chroma cosine"), Gate(), set[threading.Thread]()

    class Slow(BaseNodePostprocessor):
        """A reranker that takes its time."""

        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            gate.hold()
            return nodes

    engine = OneGenQueryEngine.from_index(
        index, llm, streaming=streaming, node_postprocessors=[Slow()]
    )
    search = type(index.vector_store).query
    monkeypatch.setattr(
        type(index.vector_store), "query", lambda *a, **k: (gate.hold(), search(*a, **k))[1]
    )
    hook = script.network.register_forward_hook(lambda *_: readers.add(threading.current_thread()))

    async def ask() -> None:
        response: Any = await engine.aquery(LONG)
        if streaming:
            await response.get_response()

    task = asyncio.create_task(ask())
    await gate.open_until(task)
    hook.remove()
    await task
    assert gate.num_held == 2, "a search and a reranking"
    assert readers
    assert threading.main_thread() not in readers


async def test_cancelling_a_query_stops_the_network(
    engine: OneGenQueryEngine, script: OneGenModel
) -> None:
    inner = script.engine
    begun = inner.steps  # type: ignore[attr-defined]
    task = asyncio.create_task(engine.aquery(LONG))
    while inner.steps < begun + 10:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    task.cancel()
    at_cancel = inner.steps  # type: ignore[attr-defined]
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert inner.steps <= at_cancel + 1  # type: ignore[attr-defined]
    assert inner.is_idle


def test_leaving_a_stream_stops_the_network(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm, streaming=True)
    response: Any = engine.query(LONG)
    next(response.response_gen)
    response.response_gen.close()
    assert script.engine.is_idle


# Bad input.


def test_an_empty_query_is_refused(index: VectorStoreIndex, llm: OneGenLLM) -> None:
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always")
    for empty in ("", " \n"):
        for ask in (engine.query, engine.aquery, OneGenRetriever.from_index(index, llm).retrieve):
            with pytest.raises(InvalidInputError, match="expected some text"):
                asyncio.run(reply) if asyncio.iscoroutine(reply := ask(empty)) else None


def test_unknown_options_are_refused(index: VectorStoreIndex, llm: OneGenLLM) -> None:
    unknown: dict[str, Any] = {"top_k": 3}
    with pytest.raises(InvalidInputError, match="engine has no option 'top_k'; expected some of"):
        OneGenQueryEngine.from_index(index, llm, **unknown)
    with pytest.raises(InvalidInputError, match="on_retrieval_error='ignore'; expected"):
        OneGenQueryEngine.from_index(index, llm, on_retrieval_error="ignore")  # type: ignore
    with pytest.raises(InvalidInputError, match="Options node_ids beside a retriever"):
        OneGenQueryEngine.from_retriever(ByText(), llm, node_ids=["1"])
    for count in (-1, 0):
        for make in (
            lambda n: OneGenQueryEngine.from_index(index, llm, similarity_top_k=n),
            lambda n: OneGenQueryEngine.from_retriever(ByText(), llm, similarity_top_k=n),
        ):
            with pytest.raises(InvalidInputError, match=f"top_k={count}; expected at least 1"):
                make(count)
    with pytest.raises(InvalidInputError, match="retrieval='alway'; expected one of auto, always"):
        OneGenQueryEngine.from_index(index, llm, retrieval="alway")  # type: ignore[arg-type]
    for odd in (Drop(), [Drop], "rerank"):
        with pytest.raises(InvalidInputError, match=r"node_postprocessors=.*; expected a list"):
            OneGenQueryEngine.from_index(index, llm, node_postprocessors=odd)  # type: ignore


def test_only_this_model_searches_while_it_writes(index: VectorStoreIndex) -> None:
    from llama_index.core import SummaryIndex
    from llama_index.core.llms import MockLLM

    with pytest.raises(InvalidInputError, match="MockLLM cannot search while it writes"):
        OneGenQueryEngine.from_index(index, MockLLM())  # type: ignore[arg-type]
    Settings._llm = None
    with pytest.raises(InvalidInputError, match=r"No LLM is given, .*; expected OneGenLLM"):
        OneGenQueryEngine.from_index(index)
    Settings.llm = MockLLM()
    with pytest.raises(InvalidInputError, match=r"set `Settings\.llm`"):
        OneGenQueryEngine.from_index(index)
    with pytest.raises(InvalidInputError, match="SummaryIndex cannot be searched by vector"):
        OneGenQueryEngine.from_index(SummaryIndex([]), OneGenLLM())  # type: ignore[arg-type]
