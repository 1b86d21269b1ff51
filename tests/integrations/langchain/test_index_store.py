"""A PassageIndex as a vector store of LangChain, also for its indexing API."""

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index

from onegen_integrations.langchain import OneGenEmbeddings, OneGenVectorStore, open_search
from onegen_model import PassageIndex
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.support.vectorstores import DOCUMENTS, QUESTION, ask


@pytest.fixture
def store(embeddings: OneGenEmbeddings) -> OneGenVectorStore:
    return OneGenVectorStore(embeddings)


@pytest.fixture
def records() -> InMemoryRecordManager:
    records = InMemoryRecordManager("test")
    records.create_schema()
    return records


def documents(*texts: str, source: str = "a") -> list[Document]:
    return [Document(page_content=text, metadata={"source": source}) for text in texts]


def texts(store: OneGenVectorStore) -> set[str]:
    return {passage.text for passage in store.index.passages}


def test_documents_are_found_and_given_back(
    store: OneGenVectorStore, embeddings: OneGenEmbeddings
) -> None:
    assert store.add_documents(DOCUMENTS) == [document.id for document in DOCUMENTS]
    assert store.get_by_ids(["elva", "unknown"]) == [
        document for document in DOCUMENTS if document.id == "elva"
    ]
    found = store.similarity_search_with_score(QUESTION, k=3)
    assert [document.id for document, _ in found] == [
        document.id for document in store.similarity_search(QUESTION, k=3)
    ]
    assert sorted((score for _, score in found), reverse=True) == [score for _, score in found]
    only = store.similarity_search(QUESTION, filter={"number": {"$gte": 4}, "bank": "north"})
    assert {document.metadata["bank"] for document in only} == {"north"}
    search = open_search(store, model=embeddings.shared)
    vector = embeddings.embed_query(QUESTION)
    hits = search.search(ask(vector, top_k=3))
    assert [(one.id, score) for one, score in hits] == [(one.id, score) for one, score in found]
    assert search.search(ask(vector, top_k=3, filter={"number": 4}))[0][0].id == "elva"


def test_an_unknown_option_of_a_search_is_refused(store: OneGenVectorStore) -> None:
    store.add_documents(DOCUMENTS)
    for search in (store.similarity_search, store.similarity_search_with_score):
        with pytest.raises(InvalidInputError, match="no option 'fliter'; expected 'filter'"):
            search(QUESTION, fliter={"number": 4})  # type: ignore[operator]


def test_a_retriever_of_the_store_searches_it(store: OneGenVectorStore) -> None:
    store.add_documents(DOCUMENTS)
    assert len(store.as_retriever(search_kwargs={"k": 2}).invoke(QUESTION)) == 2
    least = store.similarity_search_with_relevance_scores(QUESTION, k=8)[2][1]
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": least, "k": 8}
    )
    assert len(retriever.invoke(QUESTION)) == 3


def test_known_text_is_not_embedded_again(store: OneGenVectorStore, forwards: list[object]) -> None:
    store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}], ids=["1", "2"])
    forwards.clear()
    store.add_texts(["one", "two"], ids=["3", "4"])
    assert forwards == []
    assert len(store.index) == 4
    assert store.delete(["1", "3", "unknown"])
    assert [passage.id for passage in store.index.passages] == ["2", "4"]
    assert store.delete()
    assert len(store.index) == 0


def test_a_store_is_saved_and_loaded(
    store: OneGenVectorStore, embeddings: OneGenEmbeddings, tmp_path: Path
) -> None:
    made = OneGenVectorStore.from_texts(["one", "two"], embeddings)
    made.save(tmp_path / "my.index")
    loaded = OneGenVectorStore.load(tmp_path / "my.index", embeddings)
    assert texts(loaded) == {"one", "two"}
    assert loaded.embeddings is embeddings


def test_foreign_embeddings_are_refused(
    other_folder: Path, embeddings: OneGenEmbeddings, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="DeterministicFakeEmbedding; expected OneGenEmb"):
        OneGenVectorStore.from_texts(["one"], DeterministicFakeEmbedding(size=8))
    other = OneGenVectorStore.from_texts(["one"], OneGenEmbeddings(model=other_folder))
    other.save(tmp_path / "my.index")
    with pytest.raises(PassageIndexError, match="another model"):
        OneGenVectorStore.load(tmp_path / "my.index", embeddings)


def test_incremental_indexing_follows_each_source(
    store: OneGenVectorStore, records: InMemoryRecordManager, forwards: list[object]
) -> None:
    def run(given: list[Document]) -> dict[str, int]:
        forwards.clear()
        return dict(
            index(
                given,
                records,
                store,
                cleanup="incremental",
                source_id_key="source",
                key_encoder="sha256",
            )
        )

    first = documents("one", "two", source="a") + documents("three", source="b")
    assert run(first) == {"num_added": 3, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    assert run(first)["num_skipped"] == 3
    assert forwards == []
    changed = documents("one", "two changed", source="a")
    assert run(changed) == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": 1}
    assert texts(store) == {"one", "two changed", "three"}


async def test_full_indexing_removes_what_is_no_longer_given(
    store: OneGenVectorStore, records: InMemoryRecordManager
) -> None:
    def run(given: list[Document]) -> dict[str, int]:
        return dict(index(given, records, store, cleanup="full", key_encoder="sha256"))

    assert run(documents("one", "two"))["num_added"] == 2
    assert run(documents("two", "three")) == {
        "num_added": 1,
        "num_updated": 0,
        "num_skipped": 1,
        "num_deleted": 1,
    }
    assert texts(store) == {"two", "three"}
    assert run([])["num_deleted"] == 2
    assert isinstance(store.index, PassageIndex)
    assert len(store.index) == 0
