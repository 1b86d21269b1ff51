"""Indexes over Chroma, FAISS and unknown stores: scores, filters and round trips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import pytest
from llama_index.core import (
    Document,
    QueryBundle,
    Settings,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.vector_stores import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    SimpleVectorStore,
)
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryMode
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)
from onegen_model import OneGenModel, Passage
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.integrations.llama_index.conftest import DOCUMENTS, STORES, Build, chroma_store
from tests.integrations.llama_index.store_searches import FILTER, QUESTION, best, check, found_by


@pytest.mark.parametrize("store", STORES)
def test_scores_are_cosines_best_first(
    store: str, indexed: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    check(found_by(indexed(store), llm), best(model)[:4])


def test_in_another_mode_the_order_and_the_scores_are_those_of_the_store(
    indexed: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    index = indexed("chroma cosine")
    diverse = {
        "vector_store_query_mode": VectorStoreQueryMode.MMR,
        "vector_store_kwargs": {"mmr_threshold": 0.01},
    }
    vector = model.embed_queries([QUESTION])[0].tolist()
    expected = index.as_retriever(similarity_top_k=4, **diverse).retrieve(
        QueryBundle(QUESTION, embedding=vector)
    )
    found = found_by(index, llm, **diverse)
    assert [title for title, _ in found] == [one.node.metadata["title"] for one in expected]
    assert [title for title, _ in found] != [title for title, _ in best(model)[:4]]


@pytest.mark.parametrize("store", ["chroma l2", "chroma cosine", "simple"])
def test_filters_decide_what_can_be_found(
    store: str, indexed: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    for operator, value, kept in (
        (FilterOperator.GT, 4, DOCUMENTS[5:]),
        (FilterOperator.IN, [1, 2], DOCUMENTS[1:3]),
    ):
        wanted = MetadataFilter(key="number", value=value, operator=operator)
        found = found_by(indexed(store), llm, filters=MetadataFilters(filters=[wanted]))
        check(found, best(model, kept)[:4])


@pytest.mark.parametrize("store", ["chroma l2", "simple"])
@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        ({"number": {"$gt": 4}}, slice(5, None)),
        ({"number": [1, 2]}, slice(1, 3)),
        ({"number": {"$gte": 1, "$lt": 3}}, slice(1, 3)),
        ({"$or": [{"number": 1}, {"number": 2}]}, slice(1, 3)),
        ({"$not": {"$or": [{"number": 0}, {"number": {"$in": [1, 2]}}]}}, slice(3, None)),
        ({}, slice(None)),
    ],
)
def test_a_filter_of_the_core_decides_as_well(
    store: str,
    wanted: dict[str, Any],
    matching: slice,
    indexed: Build,
    llm: OneGenLLM,
    model: OneGenModel,
) -> None:
    found = found_by(indexed(store), llm, filters=wanted)
    check(found, best(model, DOCUMENTS[matching])[:4])


@pytest.mark.parametrize("space", ["cosine", "l2"])
def test_a_chroma_index_is_reopened_changed_and_searched(
    space: str, build: Build, llm: OneGenLLM, model: OneGenModel, tmp_path: Path
) -> None:
    expected = found_by(build(chroma_store(space, tmp_path)), llm)
    check(expected, best(model)[:4])
    embedding = OneGenEmbedding(model=model)
    index = VectorStoreIndex.from_vector_store(chroma_store(space, tmp_path), embedding)
    check(found_by(index, llm), expected)
    index.delete_ref_doc(f"doc-{expected[0][0]}")
    left = [one for one in DOCUMENTS if one.metadata["title"] != expected[0][0]]
    check(found_by(index, llm), best(model, left)[:4])
    new = Document(text="Igis has the largest mill.", metadata={"title": "Igis"}, id_="new")
    index.insert_nodes(PassageParser(embedding).get_nodes_from_documents([new]))
    check(found_by(index, llm, similarity_top_k=8), best(model, [*left, new]))
    filters = MetadataFilters(filters=[MetadataFilter(key="title", value="Igis")])
    check(found_by(index, llm, filters=filters), best(model, [new]))


@pytest.mark.parametrize("kind", ["faiss ip", "faiss l2", "faiss map"])
def test_a_faiss_index_is_persisted_and_loaded(
    kind: str, build: Build, llm: OneGenLLM, embedding: OneGenEmbedding, tmp_path: Path
) -> None:
    index = build(kind)
    expected = found_by(index, llm)
    index.storage_context.persist(str(tmp_path))
    loads: Callable[[str], Any] = (
        FaissMapVectorStore.from_persist_dir
        if kind == "faiss map"
        else FaissVectorStore.from_persist_dir
    )
    storage = StorageContext.from_defaults(
        vector_store=loads(str(tmp_path)), persist_dir=str(tmp_path)
    )
    Settings.embed_model = embedding
    check(found_by(load_index_from_storage(storage), llm), expected)  # type: ignore[arg-type]


def test_a_node_deleted_from_faiss_is_found_no_more(
    build: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    index = build("faiss map")
    first = best(model)[0][0]
    nodes = index.docstore.docs.values()
    [node_id] = [one.node_id for one in nodes if one.metadata["title"] == first]
    index.delete_nodes([node_id])
    check(found_by(index, llm), best(model)[1:5])


def test_what_was_deleted_altogether_leaves_an_empty_frame(build: Build, llm: OneGenLLM) -> None:
    index = build("chroma cosine")
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always", max_retrievals=1)
    for document in DOCUMENTS:
        index.delete_ref_doc(document.id_)
    assert engine.query(QUESTION).source_nodes == []


def test_faiss_that_hands_out_no_vectors_is_searched_all_the_same(
    build: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    inner = faiss.IndexFlatIP(model.dimension)
    cells = faiss.IndexIVFFlat(inner, model.dimension, 1, faiss.METRIC_INNER_PRODUCT)
    cells.train(model.embed_queries([QUESTION]))
    check(found_by(build(FaissVectorStore(cells)), llm), best(model)[:4])


def test_a_metric_that_is_no_cosine_is_unchanged(
    build: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    store = FaissVectorStore(faiss.IndexFlat(model.dimension, faiss.METRIC_L1))
    index = build(store)
    vector = model.embed_queries([QUESTION])
    distances, _ = store.client.search(vector, 4)
    assert [score for _, score in found_by(index, llm)] == pytest.approx(distances[0], abs=1e-3)


@pytest.mark.parametrize("own", [True, False])
def test_a_collection_that_was_filled_without_llama_index_is_searched_if_it_is_of_this_model(
    own: bool, llm: OneGenLLM, model: OneGenModel, embedding: OneGenEmbedding
) -> None:
    store, text = chroma_store("cosine"), "Alba has a mill."
    [row] = model.embed_passages([Passage("a", text if own else "Something else.")])
    store.client.add(ids=["a"], documents=[text], embeddings=[row.tolist()])
    index = VectorStoreIndex.from_vector_store(store, embedding)
    if not own:
        with pytest.raises(PassageIndexError, match="stored vector of node a is not this model"):
            OneGenQueryEngine.from_index(index, llm)
        return
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always", max_retrievals=1)
    [found] = engine.query(QUESTION).source_nodes
    assert found.node.get_content(MetadataMode.EMBED) == text


def test_nodes_of_another_parser_are_read_as_they_were_embedded(
    llm: OneGenLLM, model: OneGenModel, embedding: OneGenEmbedding
) -> None:
    node = TextNode(text="Alba has a mill.", metadata={"source": "a.txt"})
    index = VectorStoreIndex([node], embed_model=embedding)
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always", max_retrievals=1)
    response: Any = engine.query(QUESTION)
    text = "source: a.txt\n\nAlba has a mill."
    assert response.source_nodes[0].node.get_content(MetadataMode.EMBED) == text
    assert response.metadata["usage"]["inserted"] == model.count_tokens(text) + 2


def test_an_unknown_store_is_searched_with_its_own_scores(
    build: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    class Other(BasePydanticVectorStore):
        """Not known, nor anything that it inherits from."""

        stores_text: bool = False
        inner: SimpleVectorStore = SimpleVectorStore()

        @property
        def client(self) -> None: ...

        def add(self, nodes: Any, **options: Any) -> list[str]:
            return self.inner.add(nodes, **options)

        def delete(self, ref_doc_id: str, **options: Any) -> None: ...

        def query(self, query: Any, **options: Any) -> Any:
            found = self.inner.query(query, **options)
            found.similarities = [one + 1 for one in found.similarities or ()]
            return found

    expected = [(title, score + 1) for title, score in best(model)[:4]]
    check(found_by(build(Other()), llm, doc_ids=None), expected)


def test_a_subclass_of_a_known_store_is_treated_like_it(
    build: Build, llm: OneGenLLM, model: OneGenModel
) -> None:
    class Chroma(ChromaVectorStore):
        """Somebody's own."""

    class Faiss(FaissVectorStore):
        """Another's."""

    check(found_by(build(Chroma(chroma_store("l2").client)), llm), best(model)[:4])
    index = build(Faiss(faiss.IndexFlatL2(model.dimension)))
    check(found_by(index, llm), best(model)[:4])
    with pytest.raises(InvalidInputError, match="Faiss cannot apply filters"):
        OneGenQueryEngine.from_index(index, llm, filters=FILTER)
