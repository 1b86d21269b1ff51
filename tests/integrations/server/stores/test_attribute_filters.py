"""Filters in OpenAI's form."""

from typing import Any

import pytest

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.stores.attribute_filters import to_filter
from onegen_model import matches_filter

TOWN = {"year": 1901, "kind": "town", "old": True}


def compared(kind: str, key: str, value: object) -> dict[str, object]:
    return {"type": kind, "key": key, "value": value}


BOTH = [compared("eq", "old", True), compared("lt", "year", 0)]


@pytest.mark.parametrize(
    ("plain", "matches"),
    [
        (compared("eq", "kind", "town"), True),
        (compared("ne", "kind", "town"), False),
        (compared("ne", "absent", "town"), False),
        (compared("gt", "year", 1900), True),
        (compared("gte", "year", 1901), True),
        (compared("lt", "year", 1901), False),
        (compared("lte", "year", 1901), True),
        (compared("in", "kind", ["town", "river"]), True),
        (compared("nin", "kind", ["town", "river"]), False),
        (compared("eq", "old", True), True),
        (
            {"type": "and", "filters": [compared("eq", "old", True), compared("lt", "year", 0)]},
            False,
        ),
        ({"type": "or", "filters": [compared("eq", "old", True), compared("lt", "year", 0)]}, True),
    ],
)
def test_each_operator_means_what_it_says(plain: dict[str, Any], matches: bool) -> None:
    assert matches_filter(TOWN, to_filter(plain)) is matches


def nested(depth: int) -> dict[str, Any]:
    inner = nested(depth - 1) if depth else compared("eq", "kind", "town")
    return {"type": "and", "filters": [inner]}


@pytest.mark.parametrize(
    ("plain", "param"),
    [
        ([], "filters"),
        ({"type": "like", "key": "kind", "value": "t"}, "filters.type"),
        ({"type": ["eq"], "key": "kind", "value": "t"}, "filters.type"),
        (compared("eq", "$or", "town"), "filters.key"),
        (compared("eq", "", "town"), "filters.key"),
        (compared("eq", "kind", ["town"]), "filters.value"),
        (compared("eq", "kind", {"$ne": 1}), "filters.value"),
        (compared("in", "kind", "town"), "filters.value"),
        ({"type": "or", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [compared("in", "kind", None)]}, "filters.filters.0.value"),
        (nested(50), "filters"),
    ],
)
def test_the_wrong_part_is_named(plain: Any, param: str) -> None:
    with pytest.raises(ParameterError) as refused:
        to_filter(plain)
    assert refused.value.param == param
