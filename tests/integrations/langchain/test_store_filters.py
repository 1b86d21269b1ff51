"""A filter of the core means the same in every store."""

from typing import Any

import pytest
from langchain_core.documents import Document

from onegen_integrations.langchain import OneGenEmbeddings, open_search
from onegen_model.errors import InvalidInputError
from tests.support.vectorstores import STORES, Build, ask, one_of_each

DOCUMENTS = [
    Document("A town.", id="1", metadata={"year": 1900, "bank": "north"}),
    Document("A mill.", id="2", metadata={"year": 1950, "bank": "south"}),
    Document("A river.", id="3", metadata={"bank": "south"}),
]


def found(build: Build, embeddings: OneGenEmbeddings, wanted: Any) -> set[str]:
    search = open_search(build(embeddings, DOCUMENTS))
    query = ask(embeddings.embed_query("Where?"), top_k=3, filter=wanted)
    return {str(document.id) for document, _ in search.search(query)}


@one_of_each
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"bank": "south"}, {"2", "3"}),
        ({"bank": "south", "year": 1950}, {"2"}),
        ({"year": [1900, 1950]}, {"1", "2"}),
        ({"year": {"$gte": 1900, "$lt": 1950}}, {"1"}),
        ({"bank": {"$in": ["north"]}}, {"1"}),
    ],
)
def test_a_filter_finds_the_same_in_every_store(
    wanted: Any, expected: set[str], build: Build, embeddings: OneGenEmbeddings
) -> None:
    assert found(build, embeddings, wanted) == expected


@pytest.mark.parametrize("name", ["faiss", "in memory"])
def test_a_missing_name_does_not_match_none(name: str, embeddings: OneGenEmbeddings) -> None:
    assert found(STORES[name], embeddings, {"year": None}) == set()
    assert found(STORES[name], embeddings, {"year": {"$ne": 1900}}) == {"2"}


def test_an_operator_that_a_store_does_not_have_is_refused(embeddings: OneGenEmbeddings) -> None:
    for wanted in ({"year": {"$near": 1900}}, {"$or": [{"year": 1900}]}):
        with pytest.raises(InvalidInputError, match=r"operator '\$(near|or)'; expected"):
            found(STORES["in memory"], embeddings, wanted)


def test_a_store_s_own_operators_reach_it(embeddings: OneGenEmbeddings) -> None:
    either = {"$or": [{"year": 1900}, {"year": 1950}]}
    for name in ("chroma", "faiss"):
        assert found(STORES[name], embeddings, either) == {"1", "2"}
