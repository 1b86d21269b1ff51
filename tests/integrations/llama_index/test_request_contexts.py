"""A search sees the context of its own request, whichever request drives the batch."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from llama_index.core import QueryBundle
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from onegen_integrations.llama_index import OneGenChatEngine, OneGenLLM, OneGenQueryEngine
from onegen_model import OneGenModel
from onegen_model.errors import RetrievalError
from tests.integrations.llama_index.conftest import Positions
from tests.integrations.llama_index.scripted_queries import QUESTION, TURN
from tests.support.script import scripted

USERS = [f"user {n}" for n in range(4)]
current_user: ContextVar[str] = ContextVar("current_user", default="nobody")


class OfTheUser(BaseRetriever):
    """Finds what belongs to the user, whom it knows from the context."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=f"of {current_user.get()}", id_="own"))]


async def ask(engine: OneGenQueryEngine, user: str) -> Any:
    current_user.set(user)
    return await engine.aquery(f"{user}. {QUESTION}")


def test_a_search_never_sees_the_user_of_another_request(
    llm: OneGenLLM, model: OneGenModel
) -> None:
    llm.max_tokens = 400
    engine = OneGenQueryEngine.from_retriever(OfTheUser(), llm, max_retrievals=1)

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(ask(engine, user) for user in USERS))

    with scripted(model, {QUESTION: TURN}):
        reply = asyncio.run(ask_all())
    found = [[one.node.get_content() for one in response.source_nodes] for response in reply]
    assert found == [[f"of {user}"] for user in USERS]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_streamed_chat_searches_in_the_context_of_its_caller(
    asynchronous: bool, llm: OneGenLLM, model: OneGenModel
) -> None:
    llm.max_tokens = 400
    engine = OneGenChatEngine.from_index(OfTheUser(), llm, max_retrievals=1)

    async def stream() -> Any:
        response = await engine.astream_chat(QUESTION)
        assert [token async for token in response.async_response_gen()]
        return response

    token = current_user.set("user 1")
    with scripted(model, {QUESTION: TURN}):
        if asynchronous:
            response = asyncio.run(stream())
        else:
            response = engine.stream_chat(QUESTION)
            assert list(response.response_gen)
    current_user.reset(token)
    assert [one.node.get_content() for one in response.source_nodes] == ["of user 1"]


class AsynchronousOnly(BaseRetriever):
    """Has no synchronous search, like a store that lives in an event loop."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise NotImplementedError

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text="Alba is old.", id_="alba"))]


async def test_an_asynchronous_search_is_never_made_by_the_thread_of_another_request(
    llm: OneGenLLM, model: OneGenModel, positions: Positions
) -> None:
    llm.max_tokens = 400
    engine = OneGenQueryEngine.from_retriever(AsynchronousOnly(), llm)
    turn = "Wheels of Alba? " * 9 + "[RQ]<FINAL-ANSWER> Brig </FINAL-ANSWER>"
    with scripted(model, {QUESTION: turn}):
        task = asyncio.create_task(engine.aquery(f"In the loop: {QUESTION}"))
        while not positions.forwards:
            await asyncio.sleep(0.001)
        with pytest.raises(RetrievalError):
            engine.query(f"In its thread, which works for both: {QUESTION}")
        reply: Any = await task
    assert reply.response == "Brig"
