"""An embedded corpus fills LangChain's stores without embedding again, and is found the same."""

import itertools
import json
from array import array
from collections.abc import Callable
from pathlib import Path

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_community.vectorstores import FAISS
from langchain_core.vectorstores import VectorStore

from onegen_integrations.langchain import (
    OneGenEmbeddings,
    OneGenRetriever,
    open_search,
    to_document,
)
from onegen_integrations.shared import shared_model
from onegen_model import EmbeddedCorpus, PassageIndex, Query
from onegen_model.cli import main
from onegen_model.errors import PassageIndexError

TOWNS = ("Alba", "Brig", "Cary", "Dorn", "Elva", "Fink", "Gera", "Hof")
_names = itertools.count()


@pytest.fixture(scope="module")
def path(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("corpus")
    rows = [
        {"id": town.lower(), "title": town, "text": f"A town, number {at}.", "metadata": {"n": at}}
        for at, town in enumerate(TOWNS)
    ]
    (here / "towns.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (here / "untitled.jsonl").write_text(json.dumps({"id": "ossel", "text": "A river of Tarsevia"}))
    files = [str(here / name) for name in ("towns.jsonl", "untitled.jsonl")]
    argv = ["--out", str(here / "emb"), "--model", str(folder), "--shard-size", "3"]
    assert main(["embed", *files, *argv]) == 0
    assert len(EmbeddedCorpus.open(here / "emb").manifest.shards) > 1
    return here / "emb"


def fill_chroma(corpus: EmbeddedCorpus, embeddings: OneGenEmbeddings) -> VectorStore:
    client, name = chromadb.EphemeralClient(), f"embedded-{next(_names)}"
    collection = client.create_collection(name, configuration={"hnsw": {"space": "cosine"}})
    for passages, vectors in corpus.batches():
        documents = [to_document(passage) for passage in passages]
        collection.add(
            ids=[document.id for document in documents],
            embeddings=vectors,
            documents=[document.page_content for document in documents],
            metadatas=[document.metadata for document in documents],
        )
    return Chroma(name, embeddings, client=client)


def fill_faiss(corpus: EmbeddedCorpus, embeddings: OneGenEmbeddings) -> VectorStore:
    pairs = [
        (to_document(passage), vector)
        for passages, vectors in corpus.batches()
        for passage, vector in zip(passages, vectors, strict=True)
    ]
    return FAISS.from_embeddings(
        [(document.page_content, vector) for document, vector in pairs],
        embeddings,
        metadatas=[document.metadata for document, _ in pairs],
        ids=[document.id for document, _ in pairs],
    )


@pytest.mark.parametrize("fill", [fill_chroma, fill_faiss])
def test_a_store_finds_what_the_index_finds_and_embeds_nothing(
    fill: Callable[[EmbeddedCorpus, OneGenEmbeddings], VectorStore],
    path: Path,
    folder: Path,
    embeddings: OneGenEmbeddings,
    forwards: list[object],
) -> None:
    model = shared_model(folder)
    questions = ["Where is the mill of Cary?", "Which river?", "number 3"]
    queries = [Query(array("f", row), "", 4) for row in model.embed_queries(questions)]
    forwards.clear()
    corpus = EmbeddedCorpus.open(path, fingerprint=embeddings.shared.fingerprint)
    store = fill(corpus, embeddings)
    index = PassageIndex.load(model, path)
    search = open_search(store, model=embeddings.shared)
    for query, expected in zip(queries, index.retrieve(queries), strict=True):
        hits = search.search(query)
        assert [document for document, _ in hits] == [to_document(one.passage) for one in expected]
        scores = [one.score for one in expected]
        assert [score for _, score in hits] == pytest.approx(scores, abs=1e-5)
    assert forwards == []


@pytest.mark.parametrize("fill", [fill_chroma, fill_faiss])
def test_the_vectors_are_those_the_store_would_have_made(
    fill: Callable[[EmbeddedCorpus, OneGenEmbeddings], VectorStore],
    path: Path,
    embeddings: OneGenEmbeddings,
) -> None:
    store = fill(EmbeddedCorpus.open(path), embeddings)
    for title in TOWNS:
        content = f"{title}\nA town, number {TOWNS.index(title)}."
        (vector,) = embeddings.embed_documents([content])
        query = Query(array("f", vector), "", 1)
        ((document, score),) = open_search(store, model=embeddings.shared).search(query)
        assert (document.page_content, document.metadata["title"]) == (content, title)
        assert score == pytest.approx(1.0, abs=1e-5)


def test_chroma_alone_finds_the_same(path: Path, folder: Path) -> None:
    model = shared_model(folder)
    collection = chromadb.EphemeralClient().create_collection(
        f"embedded-{next(_names)}", configuration={"hnsw": {"space": "cosine"}}
    )
    for passages, vectors in EmbeddedCorpus.open(path).batches(2):
        collection.add(
            ids=[passage.id for passage in passages],
            embeddings=vectors,
            documents=[passage.text for passage in passages],
            metadatas=[to_document(passage).metadata for passage in passages],
        )
    queries = model.embed_queries(["Where is the mill of Cary?", "Which river?"])
    found = collection.query(query_embeddings=queries, n_results=4)
    expected = PassageIndex.load(model, path).search(queries, 4)
    assert found["ids"] == [[one.passage.id for one in some] for some in expected]


def test_a_retriever_reads_it_in_one_pass(path: Path, embeddings: OneGenEmbeddings) -> None:
    store = fill_chroma(EmbeddedCorpus.open(path), embeddings)
    retriever = OneGenRetriever(
        model=embeddings.model, vectorstore=store, k=2, retrieval="always", max_retrievals=1
    )
    found = retriever.invoke("Which river?")
    index = PassageIndex.load(embeddings.shared.model, path)
    vectors = embeddings.shared.model.embed_queries(["Which river?"])
    expected = [f"{one.passage.id}" for one in index.search(vectors, 2)[0]]
    assert [document.id for document in found] == expected


def test_a_corpus_of_another_model_is_refused(
    path: Path, other_folder: Path, embeddings: OneGenEmbeddings
) -> None:
    other = OneGenEmbeddings(model=other_folder)
    with pytest.raises(PassageIndexError, match="was embedded by another model"):
        EmbeddedCorpus.open(path, fingerprint=other.shared.fingerprint)
    with pytest.raises(PassageIndexError, match="was embedded by another model"):
        PassageIndex.load(shared_model(other_folder), path)
