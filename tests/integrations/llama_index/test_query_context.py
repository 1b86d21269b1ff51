"""OneGenQueryEngine: what enters the context of an answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)
from onegen_integrations.shared import shared_model
from onegen_model import OneGenModel, Passage, PassageIndex, RetrievalParams, SamplingParams
from tests.conftest import MakeNetwork
from tests.integrations.llama_index.conftest import DOCUMENTS, PLACES, Build
from tests.integrations.llama_index.scripted_queries import (
    QUESTION,
    TURNS,
    Drop,
    context_of,
    titles,
)
from tests.support.integrations_models import save_model
from tests.support.script import scripted


@pytest.fixture
def script(model: OneGenModel, llm: OneGenLLM) -> Iterator[OneGenModel]:
    llm.max_tokens = 400
    with scripted(model, TURNS):
        yield model


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
        model.engine.forget()  # type: ignore[attr-defined]
        expected = model.generate(
            question,
            retriever=own,
            sampling=SamplingParams(max_new_tokens=24),
            retrieval=RetrievalParams("always", top_k=3),
        )
        model.engine.forget()  # type: ignore[attr-defined]
        response: Any = engine.query(question)
        found = [one for hop in expected.retrievals for one in hop.passages]
        assert titles(response.source_nodes) == [one.passage.title for one in found]
        scores = [one.score for one in response.source_nodes]
        assert scores == pytest.approx([one.score for one in found], abs=1e-4)
        assert response.response == expected.text
        assert response.metadata["steps"] == list(expected.steps)
        assert response.metadata["usage"]["inserted"] == expected.usage.inserted
        assert response.metadata["usage"]["written"] == expected.usage.written


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
def test_a_cutoff_is_a_cosine_in_every_store(
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
    assert context.count("<paragraph></paragraph>") == 1, "nothing is searched again"


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
    reply = [node_id for hop in response.metadata["hops"] for node_id in hop["node_ids"]]
    assert reply == [one.node.node_id for one in response.source_nodes]
