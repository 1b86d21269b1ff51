"""What the benchmarks stand on: the small cut, shares, tables; and the invariants themselves."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks import data, invariants, report
from benchmarks.clean import CleanReader, CleanReading
from benchmarks.hostile import check_hostile, poison_all
from benchmarks.recording import Run, Runner
from benchmarks.report import Share, markdown
from benchmarks.retrieval import Asked, hop_recall, support_recall
from onegen_model import (
    OneGenModel,
    Passage,
    PassageIndex,
    RetrievalParams,
    SamplingParams,
    Token,
)  # fmt: skip
from onegen_model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointConfig

TEXT = (
    "The novel was written in a mill near the river.",
    "Copenhagen is the capital of Denmark.",
    "Both bands were formed in Sydney.",
)
KEY = ("searcher", "pool")


def test_the_small_cut_is_whole() -> None:
    cut = data.load(data.SMALL_CUT)
    assert len(cut.questions) == 8
    assert len(cut.paragraphs) == 300
    assert {one.dataset for one in cut.questions} == {"2wiki", "hotpotqa", "musique"}
    for question in cut.questions:
        assert set(question.hops) <= set(question.candidates) <= set(cut.paragraphs)
    assert sum(file.stat().st_size for file in data.SMALL_CUT.iterdir()) < 300_000


def test_a_limit_spreads_questions_and_keeps_their_gold() -> None:
    cut = data.load(data.SMALL_CUT, limit=2, paragraphs=30)
    assert [one.dataset for one in cut.questions] == ["2wiki", "hotpotqa"]
    assert len(cut.paragraphs) == 30
    assert {i for one in cut.questions for i in one.hops} <= set(cut.paragraphs)


def test_a_cut_can_be_left_with_its_own_candidates() -> None:
    cut = data.own_candidates(data.load(data.SMALL_CUT, limit=2))
    assert len(cut.questions) == 2
    assert set(cut.paragraphs) == {i for one in cut.questions for i in one.candidates}


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"multihop_dev\.jsonl\.gz; expected"):
        data.load(tmp_path)


def test_a_share_of_single_cases_has_the_binomial_error() -> None:
    share = Share.of([(1, 1), (0, 1), (0, 1), (1, 1)])
    assert (share.value, share.count) == (0.5, 4)
    assert share.standard_error == pytest.approx((0.5 * 0.5 / 4) ** 0.5)
    assert str(Share.of([])) == "-"


def test_cases_of_one_question_are_not_independent() -> None:
    assert Share.of([(2, 2), (0, 2)]).standard_error > Share.of([(1, 1), (0, 1)] * 2).standard_error


def test_a_table_is_markdown() -> None:
    assert markdown(("a", "b"), [("x", Share(0.25, 0.1, 4))]) == (
        "| a | b |\n| --- | --: |\n| x | 0.25 ±0.10 |"
    )


def make_asked(ranked: list[list[str]]) -> Asked:
    question = data.Question("q", "2wiki", "comparison", "Who?", ("A",), ("p1", "p2"), ("p1", "p2"))
    return Asked(question, None, {KEY: ranked})  # type: ignore[arg-type]


def test_a_hop_that_was_not_asked_for_is_missed() -> None:
    asked = [make_asked([["p1", "p2"]]), make_asked([["p3", "p1"], ["p2"]])]
    assert hop_recall(asked, KEY, 1, lambda *_: True).value == 0.5
    assert hop_recall(asked, KEY, 5, lambda *_: True).value == 0.75
    assert hop_recall(asked, KEY, 5, lambda hop, _: hop == 1).value == 0.5
    assert support_recall(asked, KEY, 5).value == 1


@pytest.fixture(scope="module")
def tiny(tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Runner:
    config = CheckpointConfig(max_passage_tokens=96)
    model = OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, config, "0" * 64))
    passages = [Passage(f"p{n}", text[:40]) for n, text in enumerate(TEXT)]
    index = PassageIndex.build(model, passages)
    params = (SamplingParams(max_new_tokens=12), RetrievalParams(mode="always"))
    return Runner(model, index, params, 4)


@pytest.fixture
def run(tiny: Runner) -> Run:
    return tiny.in_batches(["Who wrote it?", "What is the capital?", "Which band was first?"])


def read_all(tiny: Runner, run: Run) -> list[CleanReading]:
    assert isinstance(tiny.retriever, PassageIndex)
    reader = CleanReader(tiny.model, tiny.retriever, tiny.params[1])
    return [reader.read(record) for record in run.records]


def test_the_checks_pass_on_a_tiny_model(tiny: Runner, run: Run) -> None:
    readings = read_all(tiny, run)
    assert all(record.inserted for record in run.records)
    other = tiny.one_by_one([record.question for record in run.records])
    checks = [
        invariants.check_one_pass(run),
        invariants.check_clean(run, readings),
        invariants.check_alone(run, other, readings),
    ]
    assert [check.measured for check in checks if not check.passed] == []


def test_a_position_read_twice_is_seen(run: Run) -> None:
    run.counted.real += 1
    assert not invariants.check_one_pass(run).passed


def test_a_wrong_token_is_seen(tiny: Runner, run: Run) -> None:
    right = read_all(tiny, run)
    record = run.records[0]
    at, token = next((i, e) for i, e in enumerate(record.events) if isinstance(e, Token) and i > 3)
    wrong = replace(token, token_id=(token.token_id + 1) % 100)
    events = (*record.events[:at], wrong, *record.events[at + 1 :])
    other = Run("other", [replace(record, events=events), *run.records[1:]])
    assert not invariants.check_clean(other, read_all(tiny, other)).passed
    assert not invariants.check_alone(run, other, right).passed


def test_a_control_token_from_data_is_seen(tiny: Runner, run: Run) -> None:
    model, record = tiny.model, run.records[0]
    assert list(check_hostile(model, record)) == []
    inside = record.prompt + 3
    ids = (*record.ids[:inside], model.renderer.query_id, *record.ids[inside + 1 :])
    assert len(list(check_hostile(model, replace(record, ids=ids)))) == 2


def test_poison_fits_and_stays_plain_text(tiny: Runner) -> None:
    model = tiny.model
    [question] = poison_all(model, ["Who?"])
    assert "[RQ]" in question
    assert model.renderer.query_id not in model.renderer.question_ids(question)


@pytest.fixture
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(4, os.cpu_count() or 1))
    yield
    torch.set_num_threads(before)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_the_invariants_hold_on_the_small_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not DEFAULT_CHECKPOINT.is_dir():
        pytest.skip("there is no default checkpoint yet")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    # Four of the eight questions over 40 paragraphs: all of them take minutes on two cores.
    code = invariants.main(
        ["--limit", "4", "--paragraphs", "40", "--batch", "4", "--max-new-tokens", "48"]
    )
    assert code == 0, capsys.readouterr().out
    [file] = tmp_path.iterdir()
    written = json.loads(file.read_text(encoding="utf-8"))
    assert {check["passed"] for check in written["checks"]} == {True}
    assert written["machine"]["threads"] == torch.get_num_threads()
