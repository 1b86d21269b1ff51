"""LlamaIndex's own engines, agents and workflows on this model."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import QueryBundle, Settings, VectorStoreIndex
from llama_index.core.agent.workflow import (
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.chat_engine import CondensePlusContextChatEngine
from llama_index.core.query_engine import RetrieverQueryEngine, SubQuestionQueryEngine
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenRetriever,
)
from onegen_model import OneGenModel
from tests.integrations.llama_index.conftest import Build, Positions, Recorder
from tests.support.script import scripted

CALL = '<tool_call>\n{{"name": "{}", "arguments": {{"input": "{}"}}}}\n</tool_call>'
TURNS = {
    "Which mill is larger?": "I ask.\n" + CALL.format("mills", "Wheels, please?"),
    "Wheels, please?": "Wheels of Brig?[RQ]4.\n<FINAL-ANSWER>It has 4.</FINAL-ANSWER>",
    "It has 4.": "Brig's is larger.",
    "Think first.": (
        'Thought: I need to use a tool.\nAction: mills\nAction Input: {"input": "How many?"}'
    ),
    "How many?": "<FINAL-ANSWER>Four wheels.</FINAL-ANSWER>",
    "Four wheels.": "Thought: I can answer.\nAnswer: Brig's.",
    "Greet.": "Hello there.",
}


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 200
    with scripted(model, TURNS):
        yield model


@pytest.fixture
def tool(index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel) -> QueryEngineTool:
    engine = OneGenQueryEngine.from_index(index, llm)
    return QueryEngineTool.from_defaults(engine, name="mills", description="Knows mills.")


def test_an_index_answers_by_the_usual_query_engine(
    index: VectorStoreIndex, llm: OneGenLLM, embedding: OneGenEmbedding, recorder: Recorder
) -> None:
    Settings.llm, Settings.embed_model = llm, embedding
    engine = index.as_query_engine(similarity_top_k=3)
    expected: Any = engine.query("Where is a mill?")
    counts = recorder.counts()
    assert (counts["EmbeddingStartEvent"], counts["LLMChatStartEvent"]) == (1, 1)
    assert len(expected.source_nodes) == 3
    reply: Any = asyncio.run(engine.aquery("Where is a mill?"))
    assert reply.response == expected.response
    streamed: Any = index.as_query_engine(similarity_top_k=3, streaming=True).query(
        "Where is a mill?"
    )
    assert str(streamed.get_response()) == expected.response


def test_settings_are_all_that_is_needed(
    build: Build, llm: OneGenLLM, embedding: OneGenEmbedding
) -> None:
    Settings.llm, Settings.embed_model = llm, embedding
    engine = OneGenQueryEngine.from_index(build("simple"), retrieval="always")
    assert engine.query("Where is a mill?").source_nodes


def test_the_retriever_feeds_the_usual_engine(
    index: VectorStoreIndex, llm: OneGenLLM, script: OneGenModel, positions: Positions
) -> None:
    retriever = OneGenRetriever.from_index(index, llm, similarity_top_k=3)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
    response: Any = engine.query("Wheels, please?")
    nodes = retriever.retrieve("Wheels, please?")
    assert [one.node for one in response.source_nodes] == [one.node for one in nodes]
    assert len(nodes) == 3


@pytest.mark.parametrize("kind", ["index", "onegen"])
def test_the_usual_chat_engine_talks(kind: str, index: VectorStoreIndex, llm: OneGenLLM) -> None:
    retriever = (
        index.as_retriever()
        if kind == "index"
        else OneGenRetriever.from_index(index, llm, retrieval="always")
    )
    engine = CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=llm)
    first: Any = engine.chat("Where is a mill?")
    assert first.source_nodes
    second: Any = asyncio.run(engine.achat("And another?"))
    assert len(engine.chat_history) == 4
    assert second.source_nodes
    streamed = engine.stream_chat("And a third?")
    assert "".join(streamed.response_gen)
    assert len(engine.chat_history) == 6


async def run_agent(agent: Any, question: str, **options: Any) -> tuple[Any, list[Any]]:
    handler = agent.run(question, **options)
    events = [event async for event in handler.stream_events()]
    return await handler, events


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_asks_the_query_engine_and_answers(
    streaming: bool, tool: QueryEngineTool, llm: OneGenLLM
) -> None:
    agent = FunctionAgent(tools=[tool], llm=llm, streaming=streaming)
    response, events = await run_agent(agent, "Which mill is larger?")
    assert str(response) == "Brig's is larger."
    [called] = [one for one in events if isinstance(one, ToolCallResult)]
    assert called.tool_kwargs == {"input": "Wheels, please?"}
    assert called.tool_output.content == "It has 4."
    assert len(called.tool_output.raw_output.source_nodes) == 2
    if streaming:
        texts = [one.delta for one in events if isinstance(one, AgentStream)]
        assert "".join(texts) == "I ask.\nBrig's is larger."


async def test_an_agent_reads_its_own_turns_once(tool: QueryEngineTool, llm: OneGenLLM) -> None:
    agent = FunctionAgent(tools=[tool], llm=llm)
    _, events = await run_agent(agent, "Which mill is larger?")
    usages = [one.raw for one in events if isinstance(one, AgentStream) and one.raw]
    first, second = usages
    assert second["reused"] >= first["prompt"] + first["written"] - 1


async def test_an_agent_may_be_made_to_begin_with_a_tool(llm: OneGenLLM) -> None:
    llm.max_tokens = 100
    seen: list[int] = []

    def count(number: int) -> str:
        """Counts."""
        seen.append(number)
        return "done"

    agent = FunctionAgent(
        tools=[FunctionTool.from_defaults(count)], llm=llm, initial_tool_choice="count"
    )
    await agent.run("Whatever.", max_iterations=3)
    assert len(seen) >= 1


async def test_a_workflow_of_agents_takes_this_model_for_one_that_calls_functions(
    tool: QueryEngineTool, llm: OneGenLLM
) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([tool], llm=llm)
    assert all(isinstance(one, FunctionAgent) for one in workflow.agents.values())
    response, _ = await run_agent(workflow, "Which mill is larger?")
    assert str(response) == "Brig's is larger."


async def test_a_react_agent_thinks_acts_and_answers(tool: QueryEngineTool, llm: OneGenLLM) -> None:
    agent = ReActAgent(tools=[tool], llm=llm)
    response, events = await run_agent(agent, "Think first.")
    assert str(response) == "Brig's."
    [called] = [one for one in events if isinstance(one, ToolCallResult)]
    assert called.tool_output.content == "Four wheels."


async def test_an_agent_answers_at_once_where_no_tool_is_needed(
    tool: QueryEngineTool, llm: OneGenLLM
) -> None:
    agent = FunctionAgent(tools=[tool], llm=llm)
    context = Context(agent)
    response, events = await run_agent(agent, "Greet.", ctx=context)
    assert str(response) == "Hello there."
    assert not [one for one in events if isinstance(one, ToolCallResult)]


class Compare(Workflow):
    """Asks two engines at once."""

    def __init__(self, engines: list[OneGenQueryEngine]) -> None:
        super().__init__(timeout=60)
        self._engines = engines

    @step
    async def ask(self, event: StartEvent) -> StopEvent:
        asked = [engine.aquery(event.question) for engine in self._engines]
        return StopEvent(result=await asyncio.gather(*asked))


async def test_a_workflow_asks_two_engines_at_once(
    indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    engines = [
        OneGenQueryEngine.from_index(indexed(store), llm) for store in ("faiss ip", "simple")
    ]
    begun = script.engine.steps  # type: ignore[attr-defined]
    reply = await Compare(engines).run(question="Wheels, please?")
    assert [str(one) for one in reply] == ["It has 4.", "It has 4."]
    together = script.engine.steps - begun  # type: ignore[attr-defined]
    written = reply[0].metadata["usage"]["written"]
    assert together < 2 * written, "as one batch"


def test_a_question_is_split_for_two_engines(
    indexed: Build, llm: OneGenLLM, script: OneGenModel
) -> None:
    from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion

    class Both(BaseQuestionGenerator):
        def generate(self, tools: Any, query: QueryBundle) -> list[SubQuestion]:
            return [
                SubQuestion(sub_question="Wheels, please?", tool_name=one.name) for one in tools
            ]

        async def agenerate(self, tools: Any, query: QueryBundle) -> list[SubQuestion]:
            return self.generate(tools, query)

        def _get_prompts(self) -> dict[str, Any]:
            return {}

        def _update_prompts(self, prompts: Any) -> None:
            pass

    tools = [
        QueryEngineTool.from_defaults(
            OneGenQueryEngine.from_index(indexed(store), llm), name=name, description=name
        )
        for name, store in (("one", "faiss ip"), ("two", "simple"))
    ]
    Settings.llm = llm
    engine = SubQuestionQueryEngine.from_defaults(tools, question_gen=Both(), use_async=True)
    response: Any = engine.query("Which mill is larger?")
    found = [one.node.metadata for one in response.source_nodes if one.node.metadata]
    assert len(found) == 4
