"""Which metadata a filter lets through, and which filters are one search."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from onegen_model import Passage, PassageIndex, matches_filter
from onegen_model.errors import InvalidInputError
from onegen_model.retrieval.filters import filter_key, filter_names
from tests.support.fake_embedder import FakeEmbedder
from tests.support.indexes import ids, passages, query

TOWN = {"kind": "town", "year": 1921, "tags": ["old", "small"], "river": None, "at": {"x": 1}}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, True),
        ({}, True),
        ({"kind": "town"}, True),
        ({"kind": "town", "year": 1920}, False),
        ({"kind": ["river", "town"]}, True),
        ({"kind": []}, False),
        ({"river": None}, True),
        ({"mayor": None}, False),
        ({"mayor": {"$ne": "Ada"}}, False),
        ({"mayor": {"$nin": ["Ada"]}}, False),
        ({"tags": {"old", "new"}}, False),
        ({"tags": [["old", "small"]]}, True),
        ({"at": {"x": 1}}, True),
        ({"at": {}}, False),
        ({"year": {"$eq": 1921}}, True),
        ({"year": {"$ne": 1921}}, False),
        ({"year": {"$gt": 1921}}, False),
        ({"year": {"$gte": 1921}}, True),
        ({"year": {"$lt": 1921}}, False),
        ({"year": {"$lte": 1921}}, True),
        ({"year": {"$gte": 1900, "$lt": 1950}}, True),
        ({"year": {"$gte": 1900, "$lt": 1910}}, False),
        ({"year": {"$in": [1921, 1922]}}, True),
        ({"year": {"$nin": (1921,)}}, False),
        ({"tags": {"$contains": "old"}}, True),
        ({"tags": {"$contains": "ol"}}, False),
        ({"kind": {"$contains": "ow"}}, True),
        ({"kind": {"$contains": 1}}, False),
        ({"year": {"$contains": 1}}, False),
        ({"mayor": {"$contains": "A"}}, False),
        ({"at.x": 1}, True),
        ({"at.y": 1}, False),
        ({"kind.x": 1}, False),
        ({"$and": [{"kind": "town"}, {"year": 1921}]}, True),
        ({"$and": [{"kind": "town"}, {"year": 1922}]}, False),
        ({"$or": [{"kind": "river"}, {"year": 1921}]}, True),
        ({"$or": [{"kind": "river"}, {"year": 1922}]}, False),
        ({"$not": {"kind": "town"}}, False),
        ({"$not": {"mayor": "Ada"}}, True),
        ({"$not": {"kind": "town", "year": 1922}}, True),
        ({"kind": "town", "$or": [{"year": 1}, {"$not": {"year": {"$gte": 1922}}}]}, True),
        ({"kind": {"$gt": 3}}, False),
        ({"kind": {"$lte": 3}}, False),
    ],
)
def test_a_filter_of_metadata(filter: Any, expected: bool) -> None:
    assert matches_filter(TOWN, filter) is expected


@pytest.mark.parametrize(
    ("filter", "complaint"),
    [
        (
            {"year": {"$regex": "19.*"}},
            r"filter of 'year' has the operator '\$regex'; expected \$eq",
        ),
        ({"year": {"$gte": 1900, "to": 1910}}, "has the operator 'to'; expected"),
        ({"year": {"\uff04gte": 1900}}, "has the operator '\uff04gte'; expected"),
        ({"$nor": [{"year": 1}]}, r"operator '\$nor'; expected .* and \$and, \$or, \$not outside"),
        ({"$or": {"year": 1}}, r"operator \$or has \{'year': 1\}; expected a list of filters"),
        ({"$or": []}, r"operator \$or has \[\]; expected a list of filters"),
        ({"$and": [{"year": {"$near": 1}}]}, r"filter of 'year' has the operator '\$near'"),
        ({"$not": None}, "A filter of type NoneType; expected a mapping"),
        ({"$and": [None]}, "A filter of type NoneType; expected a mapping"),
        ({"$not": [1]}, "A filter of type list; expected a mapping"),
        ({"year": {"$in": 1921}}, r"\$in of 'year' has 1921; expected a list .*; write \[1921\]"),
        ([("year", 1921)], "A filter of type list; expected a mapping"),
        ("year", "A filter of type str"),
    ],
)
def test_an_operator_that_is_not_known_is_refused_and_not_ignored(
    filter: Any, complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        matches_filter({}, filter)
    for index in (PassageIndex(FakeEmbedder()), PassageIndex.build(FakeEmbedder(), passages(3))):
        with pytest.raises(InvalidInputError, match=complaint):
            index.retrieve([query("a", filter=filter)])


def test_a_name_with_a_dot_of_its_own_comes_first() -> None:
    assert matches_filter({"a.b": 1, "a": {"b": 2}}, {"a.b": 1})
    assert matches_filter({"a": {"b.c": {"d": 2}}}, {"a.b.c.d": 2}) is False
    assert matches_filter({"a": {"b": {"c": 2}}}, {"a.b.c": 2})


def test_the_names_of_a_filter() -> None:
    nested = {"a": 1, "$or": [{"b": 1}, {"$not": {"c": {"$gt": 1}}}], "$and": [{"d": [1]}]}
    assert filter_names(nested) == {"a", "b", "c", "d"}
    assert filter_names(None) == set()


def test_operators_reach_the_index() -> None:
    index = PassageIndex.build(FakeEmbedder(), passages(20))
    [found] = index.retrieve([query("a", 20, filter={"year": {"$gte": 3}, "lang": {"$ne": "de"}})])
    assert sorted(ids(found), key=int) == [str(n) for n in range(20) if n % 5 >= 3 and n % 3]


class Same:
    """Values that look alike and are not."""

    def __repr__(self) -> str:
        return "same"


def test_filters_with_different_names_or_values_are_different_searches() -> None:
    filters: list[dict[Any, Any]] = [
        {},
        {1: "x"},
        {"1": "x"},
        {"a": 1},
        {"a": "1"},
        {"a": [1]},
        {"a": {"$eq": 1}},
        {"a": date(2020, 1, 1)},
        {"a": "2020-01-01"},
        {"a": Same()},
        {"a": Same()},
        {"a": [{"b": [2]}]},
        {"a": [{"b": (2,)}]},
        {"a": {1, 2}},
    ]
    assert len(set(map(filter_key, filters))) == len(filters)
    assert filter_key({"a": 1, "b": [2]}) == filter_key({"b": [2], "a": 1})
    assert filter_key({"a": {2, 1}}) == filter_key({"a": frozenset({1, 2})})
    assert filter_key(None) == filter_key({})


def test_a_number_and_its_text_as_names_are_not_one_search() -> None:
    index = PassageIndex.build(FakeEmbedder(), passages(3))
    named = {"lang": "en"}
    asked = [query("a", filter={1: "x"}), query("a", filter={"1": "x"}), query("a", filter=named)]
    assert [len(found) for found in index.retrieve(asked)] == [0, 0, 2]
    index.add([Passage("one", "text", metadata={"1": "x"})])
    assert [ids(found) for found in index.retrieve(asked[:2])] == [[], ["one"]]


def test_a_list_and_a_tuple_inside_a_filter_are_not_one_search() -> None:
    index = PassageIndex.build(FakeEmbedder(), [Passage("a", "text", metadata={"at": [1, 2]})])
    asked = [query("a", filter={"at": [[1, 2]]}), query("a", filter={"at": [(1, 2)]})]
    assert [ids(found) for found in index.retrieve(asked)] == [["a"], []]


@pytest.mark.parametrize(
    "wanted", [np.int64(1), [np.int64(1)], {"$eq": np.int64(1)}, {"$in": [np.int64(1)]}]
)
def test_a_number_of_numpy_is_compared_with_lists_without_an_error(wanted: Any) -> None:
    values: list[Any] = [[1, 2], 1, [[1, 2]], None]
    assert [matches_filter({"a": value}, {"a": wanted}) for value in values] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("group", ["$not", "$and", "values"])
def test_a_filter_that_is_nested_too_deeply_is_refused(group: str) -> None:
    deep: Any = {"a": 1}
    for _ in range(5000):
        deep = [deep] if group == "values" else {group: deep if group == "$not" else [deep]}
    wanted = {"a": deep} if group == "values" else deep
    index = PassageIndex.build(FakeEmbedder(), passages(3))
    for call in (
        lambda: matches_filter({}, wanted),
        lambda: index.retrieve([query("a", filter=wanted)]),
    ):
        with pytest.raises(InvalidInputError, match="nested more than 100 levels deep"):
            call()
