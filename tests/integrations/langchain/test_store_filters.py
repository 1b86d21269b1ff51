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
        ({"$or": [{"year": 1900}, {"bank": "south", "year": {"$gt": 1949}}]}, {"1", "2"}),
        ({"$and": [{"bank": "south"}, {"$or": [{"year": 1950}]}]}, {"2"}),
        ({"$not": {"year": 1950}}, {"1", "3"}),
        ({"bank": "south", "$not": {"year": [1950, 1951]}}, {"3"}),
        ({"$not": {"$or": [{"year": 1900}, {"$not": {"bank": "south"}}]}}, {"2", "3"}),
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


@pytest.mark.parametrize("name", ["faiss", "in memory"])
def test_contains_looks_into_text(name: str, embeddings: OneGenEmbeddings) -> None:
    assert found(STORES[name], embeddings, {"bank": {"$contains": "out"}}) == {"2", "3"}


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"year": {"$ne": 1900}}, r"\$ne of 'year' exactly: it finds documents without the name"),
        ({"year": {"$nin": [1900]}}, r"\$nin of 'year' exactly: .* negate \$in by \$not"),
        ({"$or": [{"year": 1}, {"bank": {"$contains": "n"}}]}, r"\$contains of 'bank' exactly"),
        ({"$not": {"year": {"$gte": 1900}}}, r"\$not \$gte of 'year' exactly"),
        ({"bank": {"$gt": "n"}}, "it orders numbers alone"),
        ({"year": None}, "it compares text, numbers and truth values"),
        ({"year": []}, "it compares text, numbers and truth values"),
        ({"year": ["1900", 1950]}, "its values have several types"),
        ({"$or": [{}, {"year": 1}]}, "An empty filter inside of another one"),
    ],
)
def test_what_chroma_cannot_apply_exactly_is_refused(
    wanted: Any, complaint: str, embeddings: OneGenEmbeddings
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        found(STORES["chroma"], embeddings, wanted)


def test_an_operator_that_a_store_does_not_have_is_refused(embeddings: OneGenEmbeddings) -> None:
    for wanted in ({"year": {"$near": 1900}}, {"$nor": [{"year": 1900}]}):
        with pytest.raises(InvalidInputError, match=r"operator '\$(near|nor)'; expected"):
            found(STORES["in memory"], embeddings, wanted)


def test_a_store_s_own_operators_reach_it(embeddings: OneGenEmbeddings) -> None:
    own = {"bank": {"$not_contains": "north"}}
    assert found(STORES["chroma"], embeddings, own) == {"1", "2", "3"}
