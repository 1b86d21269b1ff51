"""OneGenQueryEngine: one answer, however it is asked for, and what enters its context."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import QueryBundle, Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation.events.query import QueryEndEvent
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenRetriever,
    PassageParser,
)
from onegen_integrations.llama_index.searching import NodeRetriever, NodeSource
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, Passage, PassageIndex, RetrievalParams, SamplingParams
from onegen_model.errors import InvalidInputError, RetrievalError
from tests.conftest import MakeNetwork
from tests.contracts.llama_index.conftest import DOCUMENTS, PLACES, Build, Positions, Recorder
from tests.integrations_models import save_model
from tests.script import scripted

QUESTION = "Which mill is larger?"
TURN = "Wheels of Alba?[RQ]3.\nOf Brig?[RQ]4.\n<FINAL-ANSWER> Brig </FINAL-ANSWER>"
LONG = "Say it often!"
TURNS = {QUESTION: TURN, LONG: "Ask.[RQ]" + "la " * 60}


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 400
    with scripted(model, TURNS):
        yield model


@pytest.fixture
def engine(index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel) -> OneGenQueryEngine:
    return OneGenQueryEngine.from_index(index, llm)


def plain(response: Any) -> dict[str, Any]:
    """What has to be the same on all paths."""
    nodes = [(one.node.node_id, round(one.score, 4)) for one in response.source_nodes]
    return {"text": response.response, "nodes": nodes, "metadata": response.metadata}


def titles(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [one.node.metadata["title"] for one in nodes]


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
def test_every_path_tells_the_same(
    path: str, store: str, indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = indexed(store)
    expected = plain(OneGenQueryEngine.from_index(index, llm).query(QUESTION))
    script.driver._engine._engine.forget()
    streaming, ask = PATHS[path]
    told = ask(OneGenQueryEngine.from_index(index, llm, streaming=streaming))
    assert plain(told) == expected


def test_a_response_tells_answer_nodes_hops_and_steps(engine: OneGenQueryEngine) -> None:
    response: Any = engine.query(QUESTION)
    assert response.response == "Brig"
    assert len(response.source_nodes) == 4
    assert len(set(titles(response.source_nodes))) == 4, "no node stands in the context twice"
    hops, steps = response.metadata["hops"], response.metadata["steps"]
    assert [hop["query"] for hop in hops] == ["Wheels of Alba?", "Of Brig?"]
    told = [node_id for hop in hops for node_id in hop["node_ids"]]
    assert told == [one.node.node_id for one in response.source_nodes]
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
async def test_the_event_loop_turns_meanwhile(
    streaming: bool, build: Build, llm: OneGenLLM, script: Any
) -> None:
    index = build("chroma cosine")

    class Slow(BaseNodePostprocessor):
        """A reranker that takes its time."""

        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            time.sleep(0.2)
            return nodes

    slow = Slow()
    engine = OneGenQueryEngine.from_index(
        index, llm, streaming=streaming, node_postprocessors=[slow]
    )
    search = index.vector_store.query
    object.__setattr__(
        index.vector_store, "query", lambda *a, **k: (time.sleep(0.2), search(*a, **k))[1]
    )

    async def ask() -> None:
        response: Any = await engine.aquery(LONG)
        if streaming:
            await response.get_response()

    task, longest, ticks = asyncio.create_task(ask()), 0.0, 0
    while not task.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.002)
        longest, ticks = max(longest, time.perf_counter() - begun), ticks + 1
    await task
    assert ticks > 50
    assert longest < 0.15


async def test_cancelling_a_query_stops_the_network(
    engine: OneGenQueryEngine, script: OneGenModel
) -> None:
    inner = script.driver._engine._engine
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
    assert script.driver._engine._engine.is_idle


# What enters the context.


@pytest.mark.parametrize("store", ["chroma cosine", "chroma l2", "faiss ip", "simple"])
def test_passages_and_answers_are_those_of_the_core(
    store: str, indexed: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    index = indexed(store)
    texts = {
        name: f"lies on river {n}; its mill has {n + 3} wheels." for n, name in enumerate(PLACES)
    }
    own = PassageIndex.build(
        model, [Passage(name, f"{name} {text}", name) for name, text in texts.items()]
    )
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always", similarity_top_k=3)
    for question in ("Which mill is larger?", "Where is Chur?", "no", "Who has 5 wheels, and why?"):
        model.driver._engine._engine.forget()  # type: ignore[attr-defined]
        expected = model.generate(
            question,
            retriever=own,
            sampling=SamplingParams(max_new_tokens=24),
            retrieval=RetrievalParams("always", top_k=3),
        )
        model.driver._engine._engine.forget()  # type: ignore[attr-defined]
        response: Any = engine.query(question)
        found = [one for hop in expected.retrievals for one in hop.passages]
        assert titles(response.source_nodes) == [one.passage.title for one in found]
        scores = [one.score for one in response.source_nodes]
        assert scores == pytest.approx([one.score for one in found], abs=1e-4)
        assert response.response == expected.text
        assert response.metadata["steps"] == list(expected.steps)
        assert response.metadata["usage"]["inserted"] == expected.usage.inserted
        assert response.metadata["usage"]["written"] == expected.usage.written


class Drop(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return nodes[1:]


class Reverse(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return nodes[::-1]


class Shout(BaseNodePostprocessor):
    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        assert query_bundle.query_str in ("Wheels of Alba?", "Of Brig?")
        for one in nodes:
            copy = one.node.model_copy()
            copy.set_content(one.node.get_content(MetadataMode.NONE).upper())
            one.node = copy
        return nodes


class Seen(BaseNodePostprocessor):
    """Only looks."""

    found: list[Any] = []  # noqa: RUF012

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        self.found.append([one.node.node_id for one in nodes])
        return nodes


def context_of(script: OneGenModel, ask: Callable[[str], Any]) -> tuple[Any, str]:
    """A response, and all that the model has read for it."""
    read: list[Any] = []
    submit = script.driver.submit

    def keep(*arguments: Any) -> Any:
        ticket = submit(*arguments)
        read.append(ticket)
        return ticket

    script.driver.submit = keep  # type: ignore[method-assign]
    try:
        response = ask(QUESTION)
    finally:
        del script.driver.submit  # type: ignore[method-assign]
    return response, str(script.renderer.tokenizer.decode(read[0].request.ids))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_postprocessors_decide_what_enters_the_context(
    asynchronous: bool, index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    seen = Seen()
    steps = [seen, Drop(), Reverse(), Shout()]
    engine = OneGenQueryEngine.from_index(index, llm, similarity_top_k=3, node_postprocessors=steps)
    if asynchronous:
        response: Any = asyncio.run(engine.aquery(QUESTION))
    else:
        response, context = context_of(script, engine.query)
        for one in response.source_nodes:
            shouted = one.node.get_content(MetadataMode.EMBED)
            assert f"<paragraph>{shouted}</paragraph>" in context
    kept = [node_id for found in seen.found for node_id in found[1:][::-1]]
    assert [one.node.node_id for one in response.source_nodes] == kept
    assert [len(found) for found in seen.found] == [3, 3]
    assert all("RIVER" in one.node.text for one in response.source_nodes)


@pytest.mark.parametrize("store", ["chroma l2", "chroma cosine", "faiss l2", "faiss ip"])
def test_a_cutoff_is_a_cosine_whatever_the_store(
    store: str, indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = indexed(store)
    free: Any = OneGenQueryEngine.from_index(index, llm, similarity_top_k=4).query(QUESTION)
    scores = [one.score for one in free.source_nodes[:4]]
    cutoff = (scores[1] + scores[2]) / 2
    engine = OneGenQueryEngine.from_index(
        index,
        llm,
        similarity_top_k=4,
        max_retrievals=1,
        node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=cutoff)],
    )
    response: Any = engine.query(QUESTION)
    assert titles(response.source_nodes) == titles(free.source_nodes[:2])


def test_where_nothing_is_left_an_empty_frame_enters(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    none = SimilarityPostprocessor(similarity_cutoff=2.0)
    engine = OneGenQueryEngine.from_index(index, llm, node_postprocessors=[none])
    response, context = context_of(script, engine.query)
    assert response.source_nodes == []
    assert context.count("<paragraph></paragraph>") == 2


def test_source_nodes_are_those_that_fit(make_network: MakeNetwork, tmp_path: Path) -> None:
    short = save_model(make_network, tmp_path, max_position_embeddings=200)
    embedding = OneGenEmbedding(model=short)
    index = VectorStoreIndex.from_documents(
        DOCUMENTS, embed_model=embedding, transformations=[PassageParser(embedding)]
    )
    llm = OneGenLLM(model=short, max_tokens=20)
    engine = OneGenQueryEngine.from_index(index, llm, similarity_top_k=8, retrieval="always")
    response, context = context_of(shared_model(short), engine.query)
    assert response.metadata["usage"]["dropped_passages"] > 0
    inserted = context.count("<paragraph>") - context.count("<paragraph></paragraph>")
    assert len(response.source_nodes) == inserted > 0
    told = [node_id for hop in response.metadata["hops"] for node_id in hop["node_ids"]]
    assert told == [one.node.node_id for one in response.source_nodes]


# Retrievers.


def test_the_retriever_finds_what_the_engine_finds_and_writes_no_answer(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel, positions: Positions
) -> None:
    engine = OneGenQueryEngine.from_index(index, llm)
    expected: Any = engine.query(QUESTION)
    retriever = OneGenRetriever.from_index(index, llm)
    script.driver._engine._engine.forget()  # type: ignore[attr-defined]
    positions.count = 0
    found = titles(retriever.retrieve(QUESTION))
    assert found == titles(expected.source_nodes)
    assert positions.count < expected.metadata["usage"]["forwarded"]
    assert titles(asyncio.run(retriever.aretrieve(QUESTION))) == found
    assert titles(engine.retrieve(QueryBundle(QUESTION))) == found
    assert titles(asyncio.run(engine.aretrieve(QueryBundle(QUESTION)))) == found


def test_a_system_prompt_holds_for_the_engine_and_the_retriever(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel
) -> None:
    llm.system_prompt = "Speak of mills only."
    _, context = context_of(script, OneGenQueryEngine.from_index(index, llm).query)
    assert context.count("Speak of mills only.") == 1
    _, context = context_of(script, OneGenRetriever.from_index(index, llm).retrieve)
    assert context.count("Speak of mills only.") == 1


class ByText(BaseRetriever):
    """No vector store; answers two nodes, and knows no scores."""

    asked: list[QueryBundle] = []  # noqa: RUF012

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        time.sleep(0.1)
        number = len(self.asked)
        return [
            NodeWithScore(node=TextNode(text=f"{n} wheels", id_=f"{number}-{n}")) for n in range(2)
        ]


def test_any_retriever_is_asked_with_text_and_vector(llm: OneGenLLM, script: OneGenModel) -> None:
    retriever = ByText()
    retriever.asked.clear()
    response: Any = OneGenQueryEngine.from_retriever(retriever, llm).query(QUESTION)
    assert [one.node.node_id for one in response.source_nodes] == ["1-0", "1-1", "2-0", "2-1"]
    assert [one.query_str for one in retriever.asked] == ["Wheels of Alba?", "Of Brig?"]
    assert all(len(one.embedding or ()) == script.dimension for one in retriever.asked)
    assert all(type(number) is float for number in retriever.asked[0].embedding or ())


class Five(BaseRetriever):
    """The same five at each time."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=f"{n} wheels", id_=str(n))) for n in range(5)]


def test_a_retriever_gives_all_that_it_finds(llm: OneGenLLM, script: OneGenModel) -> None:
    response: Any = OneGenQueryEngine.from_retriever(Five(), llm).query(QUESTION)
    told = [hop["node_ids"] for hop in response.metadata["hops"]]
    assert told == [["0", "1", "2", "3", "4"], []]
    engine = OneGenQueryEngine.from_retriever(Five(), llm, similarity_top_k=3)
    told = [hop["node_ids"] for hop in engine.query(QUESTION).metadata["hops"]]  # type: ignore
    assert told == [["0", "1", "2"], ["3", "4"]]


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'


def test_a_call_behind_a_retrieval_is_no_text_of_the_answer(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    add = FunctionTool.from_defaults(lambda a: a, name="add", description="Adds.")
    source = NodeSource.of_retriever(Five(), llm.shared)
    with scripted(script, {QUESTION: f"Wheels of Alba?[RQ]I add. {CALL}"}):
        told = llm.chat_with_tools([add], QUESTION, retriever=NodeRetriever(source))
    assert told.message.content == "I add."
    [call] = llm.get_tool_calls_from_response(told)
    assert call.tool_kwargs == {"a": 2}


@pytest.mark.parametrize("opening", ["Whee", "Wheels of Alba?", "So.\n<FINAL-ANSWER> Br"])
def test_an_answer_that_was_begun_is_gone_on_with(
    opening: str, llm: OneGenLLM, script: OneGenModel
) -> None:
    turn = "So.\n<FINAL-ANSWER> Brig </FINAL-ANSWER>" if opening.startswith("So") else TURN
    asked = [ChatMessage(QUESTION), ChatMessage(opening, role="assistant")]
    source = NodeSource.of_retriever(Five(), llm.shared)
    with scripted(script, {QUESTION: turn}):
        told = llm.chat(asked, retriever=NodeRetriever(source))
    assert told.message.content == ("ig" if opening.startswith("So") else "Brig")
    segments = told.message.additional_kwargs["onegen"]["segments"]
    assert "".join(f"{one['text']}" for one in segments) == turn.replace("[RQ]", "")[len(opening) :]


async def test_a_retriever_without_an_asynchronous_search_does_not_block(
    llm: OneGenLLM, script: OneGenModel
) -> None:
    task = asyncio.create_task(OneGenQueryEngine.from_retriever(ByText(), llm).aquery(QUESTION))
    longest = 0.0
    while not task.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.002)
        longest = max(longest, time.perf_counter() - begun)
    assert len((await task).source_nodes) == 4
    assert longest < 0.08


def test_the_retriever_of_an_index_keeps_its_size_and_tells_cosines(
    indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    index = indexed("chroma l2")
    by_index: Any = OneGenQueryEngine.from_index(index, llm, similarity_top_k=3).query(QUESTION)
    retriever = index.as_retriever(similarity_top_k=3)
    response: Any = OneGenQueryEngine.from_retriever(retriever, llm, max_retrievals=1).query(
        QUESTION
    )
    assert plain(response)["nodes"] == plain(by_index)["nodes"][:3]


class Broken(ByText):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise ConnectionError("the store is away")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_store_that_fails_ends_the_query_or_is_told(
    asynchronous: bool, llm: OneGenLLM, script: OneGenModel
) -> None:
    def ask(engine: OneGenQueryEngine) -> Any:
        return asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)

    with pytest.raises(RetrievalError, match="ConnectionError: the store is away"):
        ask(OneGenQueryEngine.from_retriever(Broken(), llm))
    engine = OneGenQueryEngine.from_retriever(Broken(), llm, on_retrieval_error="continue")
    response = ask(engine)
    assert response.response == "Brig"
    assert response.source_nodes == []
    assert [hop["error"] for hop in response.metadata["hops"]] == [
        "ConnectionError: the store is away"
    ] * 2


# Bad input.


def test_an_empty_query_is_refused(index: VectorStoreIndex, llm: OneGenLLM) -> None:
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always")
    for empty in ("", " \n"):
        for ask in (engine.query, engine.aquery, OneGenRetriever.from_index(index, llm).retrieve):
            with pytest.raises(InvalidInputError, match="expected some text"):
                asyncio.run(told) if asyncio.iscoroutine(told := ask(empty)) else None


def test_options_nobody_knows_are_refused(index: VectorStoreIndex, llm: OneGenLLM) -> None:
    unknown: dict[str, Any] = {"top_k": 3}
    with pytest.raises(InvalidInputError, match="Unknown options top_k; expected some of"):
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
