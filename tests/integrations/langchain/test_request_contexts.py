"""A search sees the context of its own request, whichever request drives the batch."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import ensure_config

from onegen_integrations.langchain import OneGenChatModel
from onegen_model import OneGenModel
from onegen_model.errors import RetrievalError
from tests.support.script import scripted

QUESTION = "Which town is older?"
TURNS = {QUESTION: "Who founded Alba?[RQ]<FINAL-ANSWER>Ann</FINAL-ANSWER>"}
USERS = [f"user {n}" for n in range(6)]

current_user: ContextVar[str] = ContextVar("current_user", default="nobody")


class OfTheUser(BaseRetriever):
    """Finds what belongs to the user, whom it knows from the context."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        configured = ensure_config()["configurable"].get("user", "nobody")
        return [Document(f"{configured}, {current_user.get()}", id="own")]


def chain_of(folder: Path) -> Any:
    chat = OneGenChatModel(model=folder, retriever=OfTheUser(), max_tokens=100)
    return RunnableLambda(lambda question: question) | chat


def config_of(user: str) -> Any:
    current_user.set(user)
    return {"configurable": {"user": user}}


def ask_in_tasks(chain: Any) -> list[Any]:
    async def ask(user: str) -> Any:
        return await chain.ainvoke(f"{user}. {QUESTION}", config_of(user))

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*map(ask, USERS))

    return asyncio.run(ask_all())


def ask_in_threads(chain: Any) -> list[Any]:
    def ask(user: str) -> Any:
        return chain.invoke(f"{user}. {QUESTION}", config_of(user))

    with ThreadPoolExecutor(len(USERS)) as pool:
        return list(pool.map(lambda user: copy_context().run(ask, user), USERS))


def found_in(messages: Sequence[Any]) -> list[str]:
    return [
        passage["page_content"]
        for message in messages
        for block in message.content
        if block["type"] == "server_tool_result"
        for passage in block["output"]
    ]


@pytest.mark.parametrize("ask", [ask_in_tasks, ask_in_threads])
def test_a_search_never_sees_the_user_of_another_request(
    ask: Any, wide_folder: Path, tiny: OneGenModel
) -> None:
    with scripted(tiny, TURNS):
        reply = ask(chain_of(wide_folder))
    assert found_in(reply) == [f"{user}, {user}" for user in USERS]


class AsynchronousOnly(BaseRetriever):
    """Has no synchronous search, like a store that lives in an event loop."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        raise NotImplementedError

    async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document("Alba is old.", id="alba")]


def test_an_asynchronous_search_is_never_made_by_the_thread_of_another_request(
    wide_folder: Path, tiny: OneGenModel
) -> None:
    chat = OneGenChatModel(model=wide_folder, retriever=AsynchronousOnly(), max_tokens=100)

    async def ask_both() -> list[Any]:
        chunks = chat.astream(f"In the loop: {QUESTION}")
        seen = [await anext(chunks), await anext(chunks)]
        with pytest.raises(RetrievalError):
            chat.invoke(f"In its thread, which works for both: {QUESTION}")
        return [*seen, *[chunk async for chunk in chunks]]

    with scripted(tiny, TURNS):
        reply = asyncio.run(ask_both())
    assert "".join(chunk.text for chunk in reply) == "Ann"
