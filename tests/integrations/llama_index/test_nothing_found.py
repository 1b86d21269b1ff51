"""What the engines and the retriever say where a search finds nothing."""

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from onegen_integrations.llama_index import (
    OneGenChatEngine,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenRetriever,
)
from onegen_model import OneGenModel, RetrievalParams
from onegen_model.errors import InvalidInputError
from onegen_model.params import NOT_FOUND
from tests.integrations.llama_index.conftest import Build
from tests.integrations.llama_index.scripted_queries import QUESTION, TURN
from tests.support.script import scripted

TOO_HIGH = 1.5  # no cosine is as high
REASON = 'Nothing was found for "Wheels of Alba?" with a score of at least 1.5'
NEXT = "And then?"


@pytest.fixture(autouse=True)
def script(model: OneGenModel, llm: OneGenLLM) -> Any:
    llm.max_tokens = 400
    with scripted(model, {QUESTION: TURN, NEXT: "<FINAL-ANSWER>Elm</FINAL-ANSWER>"}):
        yield model


def check(response: Any) -> None:
    assert str(response) == NOT_FOUND
    metadata = response.metadata
    assert metadata["found"] is False
    assert metadata["reason"].startswith(REASON)
    assert metadata["hops"][0]["reason"] == metadata["reason"]
    assert metadata["usage"]["empty_retrievals"] == len(metadata["hops"]) == 1
    json.dumps(metadata)


@pytest.mark.parametrize("store", ["chroma l2", "chroma cosine", "faiss l2", "faiss ip", "simple"])
def test_scores_are_cosines_over_every_store(store: str, indexed: Build, llm: OneGenLLM) -> None:
    index = indexed(store)
    check(OneGenQueryEngine.from_index(index, llm, min_score=TOO_HIGH).query(QUESTION))
    found: Any = OneGenQueryEngine.from_index(index, llm, min_score=-1.0).query(QUESTION)
    assert (found.metadata["found"], found.metadata["reason"]) == (True, "")
    assert found.response == "Brig"


def test_all_paths_say_the_same(indexed: Build, llm: OneGenLLM) -> None:
    index = indexed("simple")
    engine = OneGenQueryEngine.from_index(index, llm, min_score=TOO_HIGH)
    check(asyncio.run(engine.aquery(QUESTION)))
    streaming = OneGenQueryEngine.from_index(index, llm, streaming=True, min_score=TOO_HIGH)
    response: Any = streaming.query(QUESTION)
    assert "".join(response.response_gen) == NOT_FOUND
    assert response.metadata["reason"].startswith(REASON)
    chat = OneGenChatEngine.from_index(index, llm, min_score=TOO_HIGH)
    check(chat.chat(QUESTION))
    assert str(chat.chat(NEXT)) == "Elm"
    kept = chat.chat_history[1].additional_kwargs
    assert (kept["found"], kept["steps"]) == (False, ["Wheels of Alba?"])
    assert OneGenRetriever.from_index(index, llm, min_score=TOO_HIGH).retrieve(QUESTION) == []


def test_a_chat_streams_the_text_and_keeps_the_turn(indexed: Build, llm: OneGenLLM) -> None:
    chat = OneGenChatEngine.from_index(indexed("simple"), llm, min_score=TOO_HIGH)
    response = chat.stream_chat(QUESTION)
    assert "".join(response.response_gen) == NOT_FOUND
    assert response.sources[0].raw_output["reason"].startswith(REASON)
    first = chat.chat_history[1].additional_kwargs["onegen"]["segments"]
    assert [one["retrieves"] for one in first] == [True, False]
    usage = chat.chat(NEXT).metadata["usage"]
    assert usage["reused"] > 0


def test_the_text_is_the_callers(indexed: Build, llm: OneGenLLM) -> None:
    index = indexed("simple")
    own = OneGenQueryEngine.from_index(index, llm, min_score=TOO_HIGH, not_found="No idea.")
    assert str(own.query(QUESTION)) == "No idea."
    none: Any = OneGenQueryEngine.from_index(index, llm, min_score=TOO_HIGH, not_found=None)
    response = none.query(QUESTION)
    assert response.metadata["found"] is False
    assert str(response) != NOT_FOUND


def test_a_cutoff_behind_the_search_finds_nothing_either(indexed: Build, llm: OneGenLLM) -> None:
    cutoff = SimilarityPostprocessor(similarity_cutoff=TOO_HIGH)
    engine = OneGenQueryEngine.from_index(indexed("simple"), llm, node_postprocessors=[cutoff])
    response: Any = engine.query(QUESTION)
    assert response.response == NOT_FOUND
    assert response.metadata["reason"] == 'Nothing was found for "Wheels of Alba?".'


class Scored(BaseRetriever):
    """A retriever with scores of its own, as BM25 has them."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        score = 7.0 if "Alba" in query_bundle.query_str else 2.0
        return [NodeWithScore(node=TextNode(text=query_bundle.query_str), score=score)]


def test_scores_of_another_retriever_are_compared_as_they_are(llm: OneGenLLM) -> None:
    engine = OneGenQueryEngine.from_retriever(Scored(), llm, min_score=5)
    response: Any = engine.query(QUESTION)
    assert response.response == NOT_FOUND, "the second link is missing"
    assert response.metadata["reason"] == (
        'Nothing was found for "Of Brig?" with a score of at least 5 (the best score was 2.000).'
    )


def test_a_store_whose_scores_may_be_distances_is_refused(build: Build, llm: OneGenLLM) -> None:
    index = build("simple")
    with pytest.raises(InvalidInputError, match=r"min_score=0.5 for SimpleVectorStore \(mmr\)"):
        OneGenQueryEngine.from_index(index, llm, min_score=0.5, vector_store_query_mode="mmr")
    retriever = index.as_retriever(vector_store_query_mode="mmr")
    with pytest.raises(InvalidInputError, match=r"min_score=0.5 for SimpleVectorStore \(mmr\)"):
        OneGenQueryEngine.from_retriever(retriever, llm, min_score=0.5)


@pytest.mark.parametrize("given", [{"min_score": "0.5"}, {"not_found": ""}])
def test_limits_that_mean_nothing_are_refused(given: Any, indexed: Build, llm: OneGenLLM) -> None:
    with pytest.raises(InvalidInputError, match=r"; expected .* or None; change"):
        OneGenQueryEngine.from_index(indexed("simple"), llm, **given)


def test_a_chat_of_the_llm_says_it_too(script: OneGenModel, llm: OneGenLLM) -> None:
    class Nothing:
        def retrieve(self, queries: Any) -> Any:
            return [[] for _ in queries]

    retrieval = RetrievalParams(not_found="No idea.")
    response = llm.chat([ChatMessage(QUESTION)], retriever=Nothing(), retrieval=retrieval)
    assert response.message.content == "No idea."
    assert response.raw is not None
    assert (response.raw["found"], response.raw["empty_retrievals"]) == (False, 1)
