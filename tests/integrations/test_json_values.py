"""Metadata as JSON."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from onegen_integrations.shared.json_values import json_metadata, json_title

LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2020, 1, 2, 3, tzinfo=UTC), "2020-01-02T03:00:00Z"),
        (date(2020, 1, 2), "2020-01-02"),
        (np.float32(1.5), 1.5),
        (np.arange(2), [0, 1]),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (Path("a/b"), "a/b"),
        (b"\xff", "_w=="),
        (float("nan"), "NaN"),
        ({1: {"deep": {2}}}, {"1": {"deep": [2]}}),
        ("\ud800", "\\ud800"),
        (LOOP, "[[...]]"),
        (1j, "1j"),
        (2**64 - 1, 2**64 - 1),
        ({"id": [2**64, -(2**63) - 1]}, {"id": [str(2**64), str(-(2**63) - 1)]}),
    ],
)
def test_metadata_that_is_not_json_can_be_written(value: Any, expected: Any) -> None:
    written = json_metadata({"x": value})
    assert written == {"x": expected}
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    serializer = JsonPlusSerializer()
    assert serializer.loads_typed(serializer.dumps_typed(written)) == written


def test_metadata_that_is_json_is_what_it_was() -> None:
    metadata = {"a": 1, "b": [None, True, "é", 1.5, {"c": "d"}]}
    assert json_metadata(metadata) == metadata


@pytest.mark.parametrize(("title", "expected"), [(None, ""), ("Alba", "Alba"), (1984, "1984")])
def test_a_title_of_none_is_not_the_word_none(title: Any, expected: str) -> None:
    assert json_title({"title": title}) == expected
    assert json_title({}) == ""
