"""The benchmark of linking, with a tiny model."""

from pathlib import Path

import pytest

from benchmarks import linking, report
from benchmarks.linking_texts import entities, make_text, mean_tokens
from onegen_model import OneGenModel, PassageIndex
from tests.support.linking_model import linking_model


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


def test_drafts_write_what_one_token_after_the_other_writes(model: OneGenModel) -> None:
    found = linking.measure_drafts(model, [make_text(0)[:300], make_text(1)[:300]])
    assert found["texts with the same mentions"] == "2 of 2"
    counted = found["counted"]
    assert counted["drafts"]["steps"] < counted["token by token"]["steps"]
    assert counted["drafts"]["length"] == counted["token by token"]["length"]
    assert counted["token by token"]["discarded"] <= counted["drafts"]["discarded"]
    assert found["times fewer passes"] > 1
    fewer = linking.measure_drafts(model, [make_text(0)[:300]], threshold=0.99)
    assert fewer["mentions of a text"] < found["mentions of a text"]


def test_a_batch_and_a_document_give_what_the_texts_give(model: OneGenModel) -> None:
    index = PassageIndex.build(model, entities())
    batch = linking.measure_batch(model, index, [make_text(at)[:200] for at in range(4)])
    assert batch["texts with the same mentions"] == "4 of 4"
    document = linking.measure_document(model, index, 4000)
    assert document["windows"] > 5
    assert document["peak more, MiB"] < 50


def test_the_command_writes_its_result(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(linking, "make_text", lambda number: make_text(number)[:150])
    options = ["speed", "--texts", "1", "--threads", "1", "--drafts-only", "--label", "tiny"]
    assert linking.main(options, model) == 0
    assert next(tmp_path.glob("linking-speed-tiny-*.json")).read_text(encoding="utf-8")


def test_each_text_has_ten_names(model: OneGenModel) -> None:
    names = [one.title for one in entities()]
    for number in range(12):
        assert sum(make_text(number).count(name) for name in names) == 10
    assert mean_tokens(model, [make_text(0)]) > 300
