"""One search over real stores: what is refused."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenEmbeddings, open_search
from onegen_integrations.shared import SharedModel, shared_model
from onegen_model import PassageIndex
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.support.vectorstores import (
    DOCUMENTS,
    QUESTION,
    Build,
    TextStore,
    VectorOnly,
    Words,
    ask,
    in_memory,
    one_of_each,
)

pytestmark = pytest.mark.filterwarnings("ignore:Normalizing L2:UserWarning")  # of FAISS


@pytest.fixture
def vector(embeddings: OneGenEmbeddings) -> list[float]:
    return embeddings.embed_query(QUESTION)


@one_of_each
def test_a_store_of_vectors_of_another_length_is_refused(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    search = open_search(build(DeterministicFakeEmbedding(size=48), DOCUMENTS))
    with pytest.raises(PassageIndexError, match="holds vectors of length 48; expected 64"):
        search.search(ask(vector))


@one_of_each
async def test_an_empty_store_is_refused_until_it_is_filled(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    store = build(embeddings, [])
    search = open_search(store)
    with pytest.raises(PassageIndexError, match="is empty; expected documents in it; add some"):
        search.search(ask(vector))
    with pytest.raises(PassageIndexError, match="is empty"):
        await search.asearch(ask(vector))
    store.add_documents(DOCUMENTS)
    assert len(search.search(ask(vector))) == 3


def test_a_store_of_another_model_is_refused(
    embeddings: OneGenEmbeddings, folder: Path, other_folder: Path, vector: list[float]
) -> None:
    store = in_memory(OneGenEmbeddings(model=other_folder), DOCUMENTS)
    theirs = shared_model(other_folder).fingerprint[:12]
    with pytest.raises(
        PassageIndexError, match=f"{theirs}; expected {embeddings.shared.fingerprint[:12]}"
    ):
        open_search(store, model=embeddings.shared).search(ask(vector))
    same = SharedModel(folder, dtype="bfloat16")
    assert open_search(in_memory(embeddings, DOCUMENTS), model=same).search(ask(vector))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (["a list"], {}, "list cannot be searched; expected a VectorStore or a BaseRetriever"),
        (PassageIndex, {}, "PassageIndex cannot be searched"),
        (DeterministicFakeEmbedding(size=4), {}, "DeterministicFakeEmbedding cannot be searched"),
        (
            TextStore(DeterministicFakeEmbedding(size=4)),
            {},
            "TextStore has no similarity search by vector; expected similarity_search_by_vector",
        ),
        (
            VectorOnly(DeterministicFakeEmbedding(size=4)).as_retriever(search_type="mmr"),
            {},
            "VectorOnly has no mmr search by vector",
        ),
        (
            VectorOnly(DeterministicFakeEmbedding(size=4)),
            {"score_threshold": 0.2},
            r"min_score=0.2 for VectorOnly \(similarity\), whose scores are not known",
        ),
        (
            InMemoryVectorStore(DeterministicFakeEmbedding(size=4)).as_retriever(search_type="mmr"),
            {"score_threshold": 0.2},
            r"for InMemoryVectorStore \(mmr\), whose scores",
        ),
        (Words(), {"score_threshold": 0.2}, "for Words .*, whose scores are not known"),
        (
            Words(),
            {"search_kwargs": {"filter": {}, "k": 2}},
            r"search_kwargs \['filter'\] for Words",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(
    source: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        open_search(source, **options)


def test_a_filter_for_a_retriever_that_has_none_is_refused(vector: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="A filter for Words, which is searched by text"):
        open_search(Words()).search(ask(vector, filter={"number": 1}))


@one_of_each
def test_a_store_of_other_embeddings_of_equal_length_is_refused(
    build: Build, embeddings: OneGenEmbeddings, vector: list[float]
) -> None:
    search = open_search(build(DeterministicFakeEmbedding(size=len(vector)), DOCUMENTS))
    expected = "embeds with DeterministicFakeEmbedding; expected OneGenEmbeddings"
    with pytest.raises(PassageIndexError, match=expected):
        search.search(ask(vector))
