"""`--where`: what is typed, and what the index is asked for."""

import re
from pathlib import Path
from typing import Any

import pytest

from onegen_model import Passage
from onegen_model.cli.where import parse_where, require_known_names
from onegen_model.errors import InvalidInputError
from tests.support.fake_model import FakeModel, fails, run


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], None),
        (["year>=2020"], {"year": {"$gte": 2020}}),
        (["year <= 2020.5"], {"year": {"$lte": 2020.5}}),
        (["year>1"], {"year": {"$gt": 1}}),
        (["year<1"], {"year": {"$lt": 1}}),
        (["lang=en"], {"lang": {"$eq": "en"}}),
        (["lang == en "], {"lang": {"$eq": "en"}}),
        (["lang!=en"], {"lang": {"$ne": "en"}}),
        (['year="2020"'], {"year": {"$eq": "2020"}}),
        (["draft=false"], {"draft": {"$eq": False}}),
        (["day=2020-01-31"], {"day": {"$eq": "2020-01-31"}}),
        (["title=a=b"], {"title": {"$eq": "a=b"}}),
        (["tags=[1]"], {"tags": {"$eq": "[1]"}}),
        (["onegen.source~hand book"], {"onegen.source": {"$contains": "hand book"}}),
        (["lang in en, de"], {"lang": {"$in": ["en", "de"]}}),
        (["year in [2020, 2021]"], {"year": {"$in": [2020, 2021]}}),
        (['town in "Alba, old","Brig"'], {"town": {"$in": ["Alba, old", "Brig"]}}),
        (['{"$not": {"a": 1}}'], {"$not": {"a": 1}}),
        (["a=1", "b>2"], {"$and": [{"a": {"$eq": 1}}, {"b": {"$gt": 2}}]}),
    ],
)
def test_conditions(conditions: list[str], expected: Any) -> None:
    assert parse_where(conditions) == expected


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ("year", "--where 'year' is no condition; expected NAME=VALUE"),
        ("=3", "--where '=3' is no condition"),
        ("", "--where '' is no condition"),
        ("year=>3", "--where 'year=>3' is no condition"),
        ("year<>3", "--where 'year<>3' is no condition"),
        ("lang=~en", "--where 'lang=~en' is no condition"),
        ('town in "Alba, old",Brig', "expected quotes around each text or around none"),
        ('{"a"', "is not JSON"),
        ('{"a": {"$near": 1}}', "has the operator '$near'"),
    ],
)
def test_what_is_no_condition(condition: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(complaint)):
        parse_where([condition])


def test_a_name_that_no_passage_has_is_refused_with_the_nearest_one() -> None:
    passages = [
        Passage("1", "text", metadata={"year": 1, "at": {"x": 1}}),
        Passage("2", "text", metadata={"lang": "en"}),
    ]
    require_known_names({"$or": [{"year": 1}, {"at.x": 1}, {"lang": "de"}]}, passages)
    require_known_names(None, [])
    with pytest.raises(InvalidInputError, match=r"'yaer'.*at\.x, lang, year; did you mean 'year'"):
        require_known_names({"yaer": 1}, passages)
    with pytest.raises(InvalidInputError, match="none: the passages have no metadata"):
        require_known_names({"year": 1}, [])


def test_where_limits_the_search_of_ask(
    model: FakeModel, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--where", "onegen.document=r5"]
    assert run(model, "ask", "who?", "--index", "my.index", *where) == 0
    assert model.streams[0].options["retrieval"].filter == {"onegen.document": {"$eq": "r5"}}
    complaint = fails(capsys, model, "ask", "who?", "--index", "my.index", "--where", "colour=red")
    assert "No passage has the metadata 'colour'" in complaint
    assert "is no condition" in fails(
        capsys, model, "ask", "who?", "--index", "my.index", "--where", "red"
    )
