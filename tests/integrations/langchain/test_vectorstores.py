"""One search over real stores: what a score is there, and what is found."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_community.vectorstores import FAISS
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStoreRetriever

from onegen_integrations.langchain import OneGenEmbeddings, open_search
from tests.support.vectorstores import (
    DOCUMENTS,
    QUESTION,
    STORES,
    TOWNS,
    Build,
    TextStore,
    VectorOnly,
    Words,
    ask,
    each_store,
    in_memory,
    one_of_each,
)

pytestmark = pytest.mark.filterwarnings("ignore:Normalizing L2:UserWarning")  # of FAISS


@pytest.fixture
def vector(embeddings: OneGenEmbeddings) -> list[float]:
    return embeddings.embed_query(QUESTION)


@pytest.fixture
def truth(embeddings: OneGenEmbeddings, vector: list[float]) -> dict[str, float]:
    """The cosine of each document, best first."""
    rows = np.array(embeddings.embed_documents([d.page_content for d in DOCUMENTS]))
    cosines = rows @ np.array(vector) / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector)
    found = dict(zip([str(d.id) for d in DOCUMENTS], cosines.tolist(), strict=True))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@each_store
async def test_a_score_is_the_cosine_in_every_store(
    build: Build,
    embeddings: OneGenEmbeddings,
    vector: list[float],
    truth: dict[str, float],
    forwards: list[object],
) -> None:
    search = open_search(build(embeddings, DOCUMENTS), model=embeddings.shared)
    forwards.clear()
    hits = search.search(ask(vector, top_k=8))
    assert forwards == []
    assert [document.id for document, _ in hits] == list(truth)
    assert [score for _, score in hits] == pytest.approx(list(truth.values()), abs=1e-5)
    assert await search.asearch(ask(vector, top_k=8)) == hits
    assert len(search.search(ask(vector, top_k=2))) == 2


@each_store
def test_the_threshold_is_a_cosine_in_every_store(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float], truth: dict[str, float]
) -> None:
    store = build(embeddings, DOCUMENTS)
    third = list(truth.values())[2]
    searches = [
        open_search(store, score_threshold=third - 1e-4),
        open_search(store, search_kwargs={"score_threshold": third - 1e-4}),
        open_search(
            store.as_retriever(
                search_type="similarity_score_threshold",
                search_kwargs={"score_threshold": third - 1e-4},
            )
        ),
        open_search(
            store.as_retriever(search_kwargs={"score_threshold": 2.0}), score_threshold=third - 1e-4
        ),
    ]
    for search in searches:
        found = [document.id for document, _ in search.search(ask(vector, top_k=8))]
        assert found == list(truth)[:3]


@one_of_each
async def test_a_filter_is_passed_on_and_that_of_the_query_wins(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float], truth: dict[str, float]
) -> None:
    store = build(embeddings, DOCUMENTS)
    search = open_search(store.as_retriever(search_kwargs={"filter": {"bank": "north"}}))
    north = [i for i in truth if TOWNS.index(i.title()) % 2]
    assert [d.id for d, _ in search.search(ask(vector, top_k=8))] == north
    query = ask(vector, top_k=8, filter={"number": 4})
    assert [d.id for d, _ in search.search(query)] == ["elva"]
    assert [d.id for d, _ in await search.asearch(query)] == ["elva"]


def test_filters_in_a_store_s_own_language_reach_it(
    embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    own: dict[str, Any] = {
        "chroma": {"$and": [{"number": {"$gte": 3}}, {"bank": "north"}]},
        "faiss": lambda metadata: metadata["number"] >= 3 and metadata["bank"] == "north",
        "in memory": lambda d: d.metadata["number"] >= 3 and d.metadata["bank"] == "north",
    }
    for name, wanted in own.items():
        search = open_search(STORES[name](embeddings, DOCUMENTS), search_kwargs={"filter": wanted})
        found = {document.id for document, _ in search.search(ask(vector, top_k=8))}
        assert found == {"dorn", "fink", "hof"}, name


def test_a_filter_in_faiss_finds_distant_documents(embeddings: OneGenEmbeddings) -> None:
    crowd = [Document(id=str(n), page_content=f"Cary {n}", metadata={"far": 0}) for n in range(60)]
    far = Document(id="far", page_content="0123456789", metadata={"far": 1})
    vector = embeddings.embed_documents(["Cary 7"])[0]
    store = FAISS.from_documents([*crowd, far], embeddings)
    (hit,) = open_search(store).search(ask(vector, filter={"far": 1}))
    assert hit[0].id == "far"


@each_store
def test_excluded_passages_make_room_for_others(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float], truth: dict[str, float]
) -> None:
    search = open_search(build(embeddings, DOCUMENTS))
    query = ask(vector, top_k=3, exclude=tuple(list(truth)[:4]))
    assert [document.id for document, _ in search.search(query)] == list(truth)[4:7]


@one_of_each
async def test_mmr_is_asked_by_vector(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float], forwards: list[object]
) -> None:
    store = build(embeddings, DOCUMENTS)
    options = {"lambda_mult": 0.3, "fetch_k": 4}
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, **options})
    expected = [document.id for document in retriever.invoke(QUESTION)]
    forwards.clear()
    search = open_search(retriever)
    hits = search.search(ask(vector))
    assert [document.id for document, _ in hits] == expected
    assert {score for _, score in hits} == {None}
    assert await search.asearch(ask(vector)) == hits
    assert forwards == []
    assert len(search.search(ask(vector, exclude=tuple(expected)))) == 3


async def test_a_store_without_scores_is_asked_by_vector(
    embeddings: OneGenEmbeddings, vector: list[float], truth: dict[str, float]
) -> None:
    store = VectorOnly(embeddings)
    store.inner.add_documents(DOCUMENTS)
    search = open_search(store, k=7, search_kwargs={"expr": "bank == 'north'", "k": 5})
    hits = search.search(ask(vector, top_k=2, exclude=("x",)))
    assert [(document.id, score) for document, score in hits] == [(i, None) for i in truth][:2]
    assert hits == await search.asearch(ask(vector, top_k=2))
    assert store.asked["expr"] == "bank == 'north'"
    assert store.asked["k"] == 2
    assert type(store.asked["embedding"]) is list
    assert type(store.asked["embedding"][0]) is float
    assert search.k == 7


async def test_a_store_without_vector_search_is_asked_with_a_handle(
    embeddings: OneGenEmbeddings,
    vector: list[float],
    truth: dict[str, float],
    forwards: list[object],
) -> None:
    store = TextStore(embeddings)
    store.inner.add_documents(DOCUMENTS)
    search = open_search(store, model=embeddings.shared)
    forwards.clear()
    hits = search.search(ask(vector, text="a text of no use"))
    assert [(document.id, score) for document, score in hits] == [(i, None) for i in truth][:3]
    assert await search.asearch(ask(vector)) == hits
    assert forwards == []


async def test_any_other_retriever_is_asked_with_the_text(vector: list[float]) -> None:
    runs: list[Any] = []

    class Record(BaseCallbackHandler):
        def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
            runs.append(query)

    words = Words()
    search = open_search(words, k=4)
    query = ask(vector, text="the mill of Cary", top_k=2, exclude=("alba",))
    hits = search.search(query, {"callbacks": [Record()]})
    assert [(document.id, score) for document, score in hits] == [("cary", None), ("brig", None)]
    assert await search.asearch(query, {"callbacks": [Record()]}) == hits
    assert words.asked == runs == ["the mill of Cary"] * 2
    assert search.k == 4


def test_a_retriever_that_is_more_than_its_store_is_not_bypassed(
    embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    class Reranked(VectorStoreRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return DOCUMENTS[::-1]

    search = open_search(Reranked(vectorstore=in_memory(embeddings, DOCUMENTS)))
    assert [document.id for document, _ in search.search(ask(vector))] == ["hof", "gera", "fink"]


async def test_the_event_loop_turns_while_a_store_searches(
    embeddings: OneGenEmbeddings, vector: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_turned = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        assert has_turned.wait(20), "the event loop is blocked"
        return []

    monkeypatch.setattr(Chroma, "similarity_search_by_vector_with_relevance_scores", wait)
    search = open_search(STORES["chroma"](embeddings, DOCUMENTS))
    pending = asyncio.ensure_future(search.asearch(ask(vector)))
    await asyncio.sleep(0)
    has_turned.set()
    assert await pending == []


async def test_what_a_store_raises_comes_through(
    embeddings: OneGenEmbeddings, vector: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the store is gone")

    store = in_memory(embeddings, DOCUMENTS)
    monkeypatch.setattr(store, "similarity_search_with_score_by_vector", fail)
    with pytest.raises(ConnectionError, match="is gone"):
        open_search(store).search(ask(vector))
    with pytest.raises(ConnectionError, match="is gone"):
        await open_search(store).asearch(ask(vector))


@one_of_each
def test_mmr_takes_a_filter_too(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    crowd = [Document(id=str(n), page_content=f"Cary {n}", metadata={"far": 0}) for n in range(60)]
    far = Document(id="far", page_content="0123456789", metadata={"far": 1})
    retriever = build(embeddings, [*crowd, far]).as_retriever(search_type="mmr")
    near = embeddings.embed_documents(["Cary 7"])[0]
    (hit,) = open_search(retriever).search(ask(near, filter={"far": 1}))
    assert hit[0].id == "far"


def test_cached_embeddings_of_ours_are_ours(
    embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    class Cached(Embeddings):
        """As LangChain's CacheBackedEmbeddings."""

        underlying_embeddings = embeddings
        embed_documents = embeddings.embed_documents
        embed_query = embeddings.embed_query

    assert open_search(in_memory(Cached(), DOCUMENTS)).search(ask(vector))
