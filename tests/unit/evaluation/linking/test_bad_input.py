"""`onegen evaluate --task linking` with input that cannot be used."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from onegen_model import OneGenModel, Passage, PassageIndex
from tests.support.evaluation_world import write_lines
from tests.support.linking_evaluation import ALL, FEW, RUN, TEXTS, Words, evaluate
from tests.support.linking_model import ENTITIES

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RUN, "None of entities and entity_file; expected one"),
        ((*ALL, "--entity-file", "entities.jsonl"), "Both of entities and entity_file"),
        ((*RUN, "--entities", "absent"), "There is nothing at absent; expected entities"),
        ((*ALL, "--baselines", "nme"), "The baseline 'nme'; expected one of name, name+words"),
        ((*ALL, "--thresholds", "a"), "--thresholds has 'a'; expected numbers"),
        ((*ALL, "--mention-threshold", "1.5"), "threshold=1.5; expected a number between"),
        ((*ALL, "--batch", "0"), "batch=0; expected at least 1"),
        (ALL[:4] + ALL[6:], "--out is missing; expected the folder"),
        ((*ALL, "--pool", "own"), "--pool with --task linking; expected options of one task"),
        (("--documents", "texts.jsonl"), "--documents without --task linking"),
        (("--questions", "q", "--task", "linking"), "--questions with --task linking"),
    ],
)
def test_wrong_options_are_named(
    options: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(None, *options) == 2
    assert said in capsys.readouterr().err


def test_an_index_of_another_model_is_refused(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    PassageIndex.build(Words("cpu", None), ENTITIES).save("other.entities")
    assert evaluate(model, *RUN, "--entities", "other.entities") == 2
    assert "was embedded by another model" in capsys.readouterr().err


def test_entities_of_another_list_are_refused(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(Path("entities.jsonl"), [{"id": "P1", "name": "Elsewhere"}])
    assert evaluate(model, *FEW) == 2
    assert "has none of the 8 entities of the documents (such as 'Q1')" in capsys.readouterr().err


def without_entities() -> None:
    """Documents whose mentions say where they are, and no more."""
    found = [{"start": one["start"], "end": one["end"]} for one in TEXTS[0]["mentions"]]  # type: ignore[attr-defined]
    write_lines(Path("texts.jsonl"), [TEXTS[0] | {"mentions": found}])


def test_mentions_without_entities_need_an_index_of_all(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    without_entities()
    assert evaluate(model, *FEW) == 2
    shown = capsys.readouterr().err
    assert "The mentions of the documents name no entities, so none of entities.jsonl" in shown
    assert "name an index with --entities" in shown


def test_mentions_without_entities_are_measured_by_detection(
    model: OneGenModel, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    without_entities()
    assert evaluate(model, *ALL, "--no-detection") == 2
    assert "nothing would be measured; add entity ids" in capsys.readouterr().err
    assert evaluate(model, *ALL) == 0
    assert "No mention of the documents has an entity_id" in caplog.text
    assert "| OneGen" in capsys.readouterr().out


def test_candidates_of_another_list_are_refused(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    PassageIndex.build(model, [Passage("P1", "Elsewhere")]).save("other.entities")
    assert evaluate(model, *RUN, "--entities", "other.entities") == 2
    shown = capsys.readouterr().err
    assert "other.entities has none of the 6 entities of the documents (such as 'Q3')" in shown


def test_a_span_that_cuts_a_character_is_named(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "cut",
        "text": "👩\u200d🔬 x",
        "mentions": [{"start": 0, "end": 1, "entity_id": "Q1"}],
    }
    write_lines(Path("texts.jsonl"), [TEXTS[0], row])
    assert evaluate(model, *ALL) == 2
    assert "texts.jsonl:2: text 'cut': mention (0, 1) begins or ends" in capsys.readouterr().err


def test_a_run_of_other_entities_is_not_continued(
    model: OneGenModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, *ALL, "--no-detection") == 0
    PassageIndex.build(model, ENTITIES[:4]).save("fewer.entities")
    assert evaluate(model, *RUN, "--entities", "fewer.entities") == 2
    assert "holds another run (passages " in capsys.readouterr().err
