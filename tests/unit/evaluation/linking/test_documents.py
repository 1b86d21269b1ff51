"""Files of texts with marked mentions."""

from pathlib import Path
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation import read_linking_documents, read_trained_entities
from onegen_model.evaluation.linking.documents import spaced_documents
from tests.support.evaluation_world import write_lines

ROW: dict[str, Any] = {
    "id": "one",
    "text": "Ada met Alan.",
    "annotation": "partial",
    "source": "letters",
    "page": "ignored",
    "mentions": [
        {"start": 8, "end": 12, "surface": "Alan", "entity_id": "Q4", "kind": "exact"},
        {"start": 0, "end": 3, "entity_id": "Q3", "negatives": ["Q9", "Q1"]},
    ],
}


def read(folder: Path, *rows: dict[str, Any]) -> Any:
    return read_linking_documents(write_lines(folder / "texts.jsonl", rows))


def test_mentions_are_in_order_and_candidates_do_not_tell_which_is_right(tmp_path: Path) -> None:
    [found] = read(tmp_path, ROW)
    assert (found.id, found.source, found.is_exhaustive) == ("one", "letters", False)
    first, second = found.mentions
    assert (first.span, first.kind, first.candidates) == ((0, 3), "", ("Q1", "Q3", "Q9"))
    assert (second.span, second.kind, second.candidates) == ((8, 12), "exact", ("Q4",))
    [exhaustive] = read(tmp_path, {"id": 1, "text": "x", "mentions": []})
    assert (exhaustive.id, exhaustive.is_exhaustive, exhaustive.mentions) == ("1", True, ())


def test_the_digest_is_that_of_what_predictions_depend_on(tmp_path: Path) -> None:
    [one] = read(tmp_path, ROW)
    [other] = read(tmp_path, {**ROW, "source": "elsewhere"})
    [edited] = read(tmp_path, {**ROW, "mentions": ROW["mentions"][:1]})
    assert one.digest == other.digest != edited.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mentions": [{"start": 0, "end": 99}]}, "mentions[0]: 0 to 99; expected 0 <= start"),
        (
            {"mentions": [{"start": 0, "end": 3, "surface": "Eva"}]},
            "mentions[0].surface: 'Eva'; the text has 'Ada'",
        ),
        (
            {"mentions": [{"start": 0, "end": 3}, {"start": 2, "end": 7}]},
            "mentions[1]: overlaps mentions[0]; expected mentions side by side",
        ),
        ({"text": " "}, "text: "),
        ({"annotation": "all"}, "annotation: "),
        ({}, "id: the same as in"),
    ],
)
def test_a_wrong_line_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"texts\.jsonl:2") as raised:
        read(tmp_path, ROW, {**ROW, **({"id": "two"} if changes else {}), **changes})
    assert said in str(raised.value)


def test_a_file_without_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no text; expected at least one"):
        read(tmp_path)


def test_entities_of_training_files(tmp_path: Path) -> None:
    # Pieces of one text may share its id.
    rows = [ROW, ROW, {"id": "two", "text": "Eva", "mentions": [{"start": 0, "end": 3}]}]
    file = write_lines(tmp_path / "train.jsonl", rows)
    assert read_trained_entities([file]) == {"Q3", "Q4"}
    write_lines(file, [{"question": "Who?"}])
    with pytest.raises(InvalidInputError, match=r"train\.jsonl:1: .*name another file"):
        read_trained_entities([file])


def test_a_limit_takes_texts_evenly(tmp_path: Path) -> None:
    documents = read(tmp_path, *({**ROW, "id": str(number)} for number in range(6)))
    assert [one.id for one in spaced_documents(documents, 3)] == ["0", "2", "4"]
    assert spaced_documents(documents, None) == documents
    assert spaced_documents(documents, 9) == documents
