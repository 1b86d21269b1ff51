"""The classic chain in one pass, also where its context is changed."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenLLM,
    OneGenRetriever,
    onegen_rag_prompt,
)
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.support.engines import PositionCounter
from tests.support.script import scripted

QUESTION = "Which town is older?"
OTHER = "Who asks?"
TURNS = {
    QUESTION: "Who founded Alba?[RQ]Ann did.\nWho founded Brig?[RQ]Bob did.\n"
    "<FINAL-ANSWER> founded by Ann </FINAL-ANSWER>",
    OTHER: "<FINAL-ANSWER>Eve</FINAL-ANSWER>",
}


@pytest.fixture
def model(tiny: OneGenModel) -> Iterator[OneGenModel]:
    with scripted(tiny, TURNS):
        yield tiny


@pytest.fixture
def retriever(wide_folder: Path, model: OneGenModel, store: InMemoryVectorStore) -> OneGenRetriever:
    return OneGenRetriever(model=wide_folder, vectorstore=store, k=1)


@pytest.fixture
def chat(wide_folder: Path, store: InMemoryVectorStore) -> OneGenChatModel:
    return OneGenChatModel(model=wide_folder, vectorstore=store, k=1, max_tokens=100)


def make_chain(context: Any, chat: Any) -> Any:
    return {"context": context, "question": RunnablePassthrough()} | onegen_rag_prompt | chat


def format_docs(documents: Sequence[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


def reply(message: AIMessage) -> dict[str, int]:
    usage: dict[str, int] = message.response_metadata["onegen"]["usage"]
    return usage


def test_documents_of_all_hops_name_their_hop(retriever: OneGenRetriever) -> None:
    documents = retriever.invoke(QUESTION)
    assert {one.id for one in documents} == {"Alba", "Brig"}
    notes = [one.metadata for one in documents]
    assert [note["onegen_hop"] for note in notes] == [0, 1]
    assert [note["onegen_query"] for note in notes] == ["Who founded Alba?", "Who founded Brig?"]
    assert all(-1 <= note["onegen_score"] <= 1 for note in notes)
    assert all(note["title"] == one.id for note, one in zip(notes, documents, strict=True))


@pytest.mark.parametrize("path", ["invoke", "stream", "ainvoke"])
def test_the_chain_reads_nothing_twice(
    path: str, retriever: OneGenRetriever, chat: OneGenChatModel, model: OneGenModel
) -> None:
    chain = make_chain(retriever, chat)
    with PositionCounter(model.network) as counter:
        if path == "stream":
            first, *others = chain.stream(QUESTION)
            message = sum(others, first)
        elif path == "ainvoke":
            message = asyncio.run(chain.ainvoke(QUESTION))
        else:
            message = chain.invoke(QUESTION)
    assert message.text == "founded by Ann"
    final = message.usage_metadata
    # All ids of the whole conversation but the last, which nothing follows.
    assert counter.positions == final["total_tokens"] - 1
    assert reply(message)["reused"] > 30
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds.count("server_tool_result") == 2
    assert kinds.count("text") == 1
    assert [one["title"] for one in message.content_blocks[-1]["annotations"]]


def test_the_chain_answers_like_the_chat_model_alone(
    retriever: OneGenRetriever, chat: OneGenChatModel
) -> None:
    alone, chained = chat.invoke(QUESTION), make_chain(retriever, chat).invoke(QUESTION)
    assert alone.text == chained.text

    def shape(message: AIMessage) -> list[Any]:
        return [
            (block["type"], block.get("reasoning"), block.get("args"), block.get("text"))
            for block in message.content_blocks
        ]

    assert shape(alone) == shape(chained)
    assert (
        alone.response_metadata["onegen"]["written"]
        == (chained.response_metadata["onegen"]["written"])
    )


def test_a_chat_model_without_a_store_continues_too(
    retriever: OneGenRetriever, chat: OneGenChatModel
) -> None:
    chat.vectorstore = None
    assert (make_chain(retriever, chat) | StrOutputParser()).invoke(QUESTION) == "founded by Ann"


def test_the_order_of_documents_does_not_matter(
    retriever: OneGenRetriever, chat: OneGenChatModel, model: OneGenModel
) -> None:
    turned = retriever | (lambda documents: documents[::-1])
    with PositionCounter(model.network) as counter:
        message = make_chain(turned, chat).invoke(QUESTION)
    assert message.text == "founded by Ann"
    assert counter.positions == message.usage_metadata["total_tokens"] - 1


def test_an_evicted_cache_is_filled_again(
    retriever: OneGenRetriever, chat: OneGenChatModel, model: OneGenModel
) -> None:
    expected = make_chain(retriever, chat).invoke(QUESTION)
    documents = retriever.invoke(QUESTION)
    engine: Any = model.engine
    engine.forget()
    message = make_chain(lambda _: documents, chat).invoke(QUESTION)
    assert message.text == expected.text
    assert reply(message)["reused"] == 0
    assert reply(message)["forwarded"] == message.usage_metadata["total_tokens"] - 1


def test_constructors_of_chains_accept_the_prompt(
    retriever: OneGenRetriever, chat: OneGenChatModel
) -> None:
    chat.vectorstore = None
    documents = create_stuff_documents_chain(chat, onegen_rag_prompt)  # type: ignore[arg-type]
    found = [Document("Ann founded Alba."), Document("Bob founded Brig.")]
    assert documents.invoke({"context": found, "question": OTHER}) == "Eve"
    whole = create_retrieval_chain(retriever, documents)
    reply = whole.invoke({"input": QUESTION})
    assert reply["answer"].endswith("founded by Ann")
    assert {one.id for one in reply["context"]} == {"Alba", "Brig"}


def test_a_prompt_without_a_question_is_one_error() -> None:
    with pytest.raises(InvalidInputError, match=r"expected 'question' \(or 'input'\)"):
        onegen_rag_prompt.invoke({"context": []})


def test_a_run_that_is_forgotten_is_read_as_text(retriever: OneGenRetriever) -> None:
    documents = retriever.invoke(QUESTION)
    for document in documents:
        document.metadata["onegen_run"] = "unknown"
    prompt = onegen_rag_prompt.invoke({"context": documents, "question": QUESTION})
    assert [message.type for message in prompt.to_messages()] == ["human"]


REWORKED: dict[str, Any] = {
    "text": format_docs,
    "fewer": lambda documents: documents[:1],
    "more": lambda documents: [*documents, Document("Gera\nIt is old.")],
    "edited": lambda documents: [
        documents[0],
        documents[1].model_copy(update={"page_content": "Nothing."}),
    ],
    "foreign": lambda documents: [Document(one.page_content) for one in documents],
    "strings": lambda documents: [one.page_content for one in documents],
}


@pytest.mark.parametrize("way", REWORKED)
def test_a_reworked_context_is_read_as_text(
    way: str, retriever: OneGenRetriever, chat: OneGenChatModel, model: OneGenModel
) -> None:
    chat.retrieval = "never"
    documents = retriever.invoke(QUESTION)
    reworked = REWORKED[way](documents)
    prompt = onegen_rag_prompt.invoke({"context": reworked, "question": QUESTION})
    (asked,) = prompt.to_messages()
    pages = [one if isinstance(one, str) else one.page_content for one in reworked]
    context = reworked if isinstance(reworked, str) else "\n\n".join(pages)
    assert asked.content == f"{context}\n\n{QUESTION}"
    message = make_chain(lambda _: reworked, chat).invoke(QUESTION)
    assert message.text.endswith("founded by Ann")
    usage = message.usage_metadata
    assert reply(message)["forwarded"] + reply(message)["reused"] == usage["total_tokens"] - 1
    assert reply(message)["reused"] < 30, "the system's words at most"


def test_another_question_is_asked_of_the_documents(
    retriever: OneGenRetriever, chat: OneGenChatModel
) -> None:
    prompt = onegen_rag_prompt.invoke({"context": retriever.invoke(QUESTION), "question": OTHER})
    (asked,) = prompt.to_messages()
    assert asked.content.startswith("Alba") or asked.content.startswith("Brig")
    assert asked.content.endswith(OTHER)
    assert chat.invoke(prompt).text == "Eve"


def test_no_documents_leave_the_question(chat: OneGenChatModel, model: OneGenModel) -> None:
    for context in ([], "", None):
        (asked,) = onegen_rag_prompt.invoke({"context": context, "question": OTHER}).to_messages()
        assert asked.content == OTHER


def test_documents_of_two_runs_are_text(retriever: OneGenRetriever) -> None:
    mixed = [*retriever.invoke(QUESTION), *retriever.invoke(f"Well. {QUESTION}")]
    messages = onegen_rag_prompt.invoke({"context": mixed, "question": QUESTION}).to_messages()
    assert [message.type for message in messages] == ["human"]


def test_a_retriever_with_nothing_to_search_is_one_error(
    wide_folder: Path, retriever: OneGenRetriever
) -> None:
    with pytest.raises(InvalidInputError, match="OneGenRetriever has nothing to search"):
        OneGenRetriever(model=wide_folder).invoke(QUESTION)
    with pytest.raises(InvalidInputError, match="OneGenRetriever has nothing to search"):
        retriever.invoke(QUESTION, None, retrieval="never")


def test_options_of_a_call_come_first(retriever: OneGenRetriever) -> None:
    assert len(retriever.invoke(QUESTION, None, max_retrievals=1)) == 1
    assert len(retriever.invoke(QUESTION, None, k=2)) == 2
    only = retriever.invoke(QUESTION, None, filter={"title": ["Brig"]})
    assert {one.id for one in only} == {"Brig"}
    assert retriever.invoke(QUESTION, None, score_threshold=0.99) == []


def test_output_of_a_schema_is_written_behind_the_run(
    retriever: OneGenRetriever, chat: OneGenChatModel
) -> None:
    schema = {
        "title": "Old",
        "type": "object",
        "properties": {"is_old": {"type": "boolean"}},
        "required": ["is_old"],
    }
    chain = make_chain(retriever, chat.with_structured_output(schema, include_raw=True))
    reply = chain.invoke(QUESTION)
    assert reply["parsing_error"] is None
    assert reply["parsed"] in ({"is_old": True}, {"is_old": False})
    assert json.loads(reply["raw"].content) == reply["parsed"]


def test_a_model_of_text_reads_the_documents(
    retriever: OneGenRetriever, wide_folder: Path, model: OneGenModel
) -> None:
    documents = retriever.invoke(QUESTION)
    prompt = onegen_rag_prompt.invoke({"context": documents, "question": QUESTION})
    assert prompt.to_string() == f"{format_docs(documents)}\n\n{QUESTION}"
    assert [one.type for one in prompt.to_messages()] == ["human", "ai"]
    llm = OneGenLLM(model=wide_folder, max_tokens=100)
    assert make_chain(retriever, llm).invoke(QUESTION) == llm.invoke(prompt.to_string())
