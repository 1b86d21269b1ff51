"""The sources of an answer."""

from pathlib import Path
from typing import Any

import pytest

from onegen_model import Citation, Passage, PassagePlace, ScoredPassage
from onegen_model.citations import cite


def scored(name: str, score: float = 0.5, **place: Any) -> ScoredPassage:
    metadata = PassagePlace(**place).to_metadata() if place else {}
    return ScoredPassage(Passage(name, "text", f"Title of {name}", metadata), score)


def test_each_passage_is_cited_once_with_its_best_score_in_the_order_of_reading() -> None:
    place = {"source": "a.md", "document": "a.md", "lines": (10, 14), "span": (90, 300)}
    found = [scored("a.md#0", 0.2, **place), scored("b"), scored("a.md#0", 0.7, **place)]
    assert cite(found) == (
        Citation("a.md#0", "Title of a.md#0", "a.md", None, (10, 14), (90, 300), 0.7),
        Citation("b", "Title of b", score=0.5),
    )


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"source": "handbook.pdf", "pages": (3, 3), "span": (1, 9)}, "handbook.pdf, page 3"),
        ({"source": "handbook.pdf", "pages": (3, 4)}, "handbook.pdf, pages 3-4"),
        ({"source": "notes.md", "lines": (10, 14)}, "notes.md, lines 10-14"),
        ({"source": "notes.md", "lines": (10, 10)}, "notes.md, line 10"),
        ({"source": "notes.md", "span": (5, 90)}, "notes.md, characters 5-90"),
        ({"source": "rows.jsonl"}, "rows.jsonl, id 7"),
        ({}, "id 7"),
    ],
)
def test_a_label_names_file_and_place(values: dict[str, Any], label: str) -> None:
    assert Citation("id 7", **values).label == label


def test_an_id_that_names_the_file_stands_for_it() -> None:
    assert Citation("a.md#7", source="a.md").label == "a.md#7"


def test_a_file_is_found_below_the_root_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    file = tmp_path / "docs" / "a b.md"
    file.write_text("text")
    assert Citation("1", source="docs/a b.md").path(tmp_path) == file
    assert Citation("1", source="../a b.md").path(tmp_path / "docs" / "x") == file
    assert Citation("1", source=str(file)).path("/elsewhere") == file
    for odd in ("", "docs", "gone.md", "a\0b", "x" * 9000, "//host/share", "\\\\host\\share"):
        assert Citation("1", source=odd).path(tmp_path) is None
