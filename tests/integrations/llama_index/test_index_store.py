"""A PassageIndex as a vector store of LlamaIndex, kept in step by `refresh_ref_docs`."""

from datetime import date
from pathlib import Path

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    OneGenVectorStore,
    PassageParser,
)
from onegen_model import grow_index
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.conftest import DOCUMENTS


@pytest.fixture
def embed_model(folder: Path) -> OneGenEmbedding:
    return OneGenEmbedding(model=folder)


@pytest.fixture
def store(embed_model: OneGenEmbedding) -> OneGenVectorStore:
    return OneGenVectorStore(embed_model)


@pytest.fixture
def index(store: OneGenVectorStore, embed_model: OneGenEmbedding) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        DOCUMENTS,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=embed_model,
        transformations=[PassageParser(embed_model)],
    )


def documents_of(store: OneGenVectorStore) -> dict[str, str]:
    return {node.ref_doc_id or "": node.get_content() for node in store.get_nodes()}


def test_nodes_are_found_with_their_text_metadata_and_cosines(
    index: VectorStoreIndex, store: OneGenVectorStore
) -> None:
    found = index.as_retriever(similarity_top_k=3).retrieve("Where is Brig?")
    assert len(found) == 3
    for one in found:
        assert one.node.get_content().startswith(one.node.metadata["title"])
        assert -1 <= (one.score or 0) <= 1
    assert len(store.client) == len(DOCUMENTS)


def test_a_query_engine_answers_from_it(index: VectorStoreIndex, folder: Path) -> None:
    engine = OneGenQueryEngine.from_index(
        index, OneGenLLM(model=folder, max_new_tokens=4), retrieval="always", similarity_top_k=2
    )
    assert len(engine.query("Where is Brig?").source_nodes) == 2


def test_filters_are_those_of_the_core(index: VectorStoreIndex, store: OneGenVectorStore) -> None:
    def numbers(*conditions: MetadataFilter | MetadataFilters, joined: str = "and") -> set[int]:
        filters = MetadataFilters(filters=list(conditions), condition=FilterCondition(joined))
        found = index.as_retriever(similarity_top_k=8, filters=filters).retrieve("Where?")
        assert {node.node_id for node in store.get_nodes(filters=filters)} == {
            one.node_id for one in found
        }
        return {one.node.metadata["number"] for one in found}

    def number(operator: str, value: object) -> MetadataFilter:
        return MetadataFilter(key="number", value=value, operator=FilterOperator(operator))

    assert numbers(number(">=", 6)) == {6, 7}
    assert numbers(number(">", 2), number("<", 5)) == {3, 4}
    assert numbers(number("==", 1), number("in", [3, 5]), joined="or") == {1, 3, 5}
    assert numbers(number(">", 1), number("==", 0), joined="not") == {1}
    inner = MetadataFilters(filters=[number("!=", 2)])
    assert numbers(inner, number("<=", 2)) == {0, 1}
    with pytest.raises(InvalidInputError, match="operator 'text_match' of 'number'; expected"):
        numbers(number("text_match", "2"))


def test_refresh_embeds_only_what_has_changed(
    index: VectorStoreIndex, store: OneGenVectorStore
) -> None:
    changed = Document(text="Brig has moved.", metadata=DOCUMENTS[1].metadata, id_="doc-Brig")
    new = Document(text="Jaun is new.", metadata={"title": "Jaun"}, id_="doc-Jaun")
    given = [DOCUMENTS[0], changed, *DOCUMENTS[2:], new]
    before = {node.node_id for node in store.get_nodes()}
    expected = [document in (changed, new) for document in given]
    assert index.refresh_ref_docs(given) == expected
    assert len(before & {node.node_id for node in store.get_nodes()}) == len(DOCUMENTS) - 1
    assert documents_of(store)["doc-Brig"].endswith("Brig has moved.")
    assert index.refresh_ref_docs(given) == [False] * len(given)
    assert len(store.client) == len(DOCUMENTS) + 1


def test_documents_are_updated_and_deleted(
    index: VectorStoreIndex, store: OneGenVectorStore
) -> None:
    index.delete_ref_doc("doc-Alba", delete_from_docstore=True)
    assert "doc-Alba" not in documents_of(store)
    index.update_ref_doc(Document(text="Chur is old.", id_="doc-Chur"))
    assert documents_of(store)["doc-Chur"] == "Chur is old."
    assert len(store.client) == len(DOCUMENTS) - 1
    [node, *_] = store.get_nodes()
    store.delete_nodes([node.node_id])
    assert len(store.client) == len(DOCUMENTS) - 2
    with pytest.raises(InvalidInputError, match="Neither node_ids nor filters"):
        store.delete_nodes()
    store.clear()
    assert len(store.client) == 0


def test_what_is_persisted_is_loaded_and_refreshed(
    index: VectorStoreIndex, store: OneGenVectorStore, embed_model: OneGenEmbedding, tmp_path: Path
) -> None:
    index.storage_context.persist(str(tmp_path))
    [folder] = tmp_path.glob("*vector_store.index")
    loaded = OneGenVectorStore.load(folder, embed_model)
    assert documents_of(loaded) == documents_of(store)
    context = StorageContext.from_defaults(persist_dir=str(tmp_path), vector_store=loaded)
    again = load_index_from_storage(context, embed_model=embed_model)
    again._transformations = [PassageParser(embed_model)]
    assert again.refresh_ref_docs(DOCUMENTS) == [False] * len(DOCUMENTS)


def test_metadata_that_is_not_json_is_stored(store: OneGenVectorStore) -> None:
    vector = [1.0] + [0.0] * (store.client.dimension - 1)
    node = TextNode(text="a", metadata={"day": date(2020, 1, 2)}, embedding=vector)
    store.add([node])
    assert store.get_nodes([node.node_id])[0].metadata == {"day": "2020-01-02"}


def test_searches_that_it_does_not_have_are_refused(store: OneGenVectorStore) -> None:
    for query in (
        VectorStoreQuery(query_embedding=[1.0], mode="mmr"),
        VectorStoreQuery(query_embedding=[1.0], node_ids=["a"]),
    ):
        with pytest.raises(InvalidInputError, match="over OneGenVectorStore; expected the default"):
            store.query(query)


def test_an_index_of_files_is_searched(
    embed_model: OneGenEmbedding, llm: OneGenLLM, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("# Alba\n\nIt has a mill.")
    grow_index(embed_model.shared.model, [tmp_path / "a.md"], tmp_path / "my.index")
    store = OneGenVectorStore.load(tmp_path / "my.index", embed_model)
    index = VectorStoreIndex.from_vector_store(store, embed_model=embed_model)
    engine = OneGenQueryEngine.from_index(index, llm, retrieval="always", max_retrievals=1)
    [found] = engine.query("Where is a mill?").source_nodes
    assert found.node.get_content(MetadataMode.LLM) == "Alba\nIt has a mill."
    assert found.node.metadata["file_path"] == "a.md"
