"""What the benchmarks read and write: questions, shares, tables; and the invariants themselves."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks import data, invariants
from benchmarks.clean import CleanReader, CleanReading
from benchmarks.hostile import check_hostile, poison_all
from benchmarks.recording import RecordedRun, Runner
from benchmarks.retrieval import OURS, make_rankers, make_rows
from onegen_model import (
    OneGenModel,
    Passage,
    PassageIndex,
    PassagesInserted,
    RetrievalParams,
    SamplingParams,
    Token,
)  # fmt: skip
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.documents.document import Document
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import OnePass, ask
from onegen_model.evaluation.ask.ranking import among_candidates, everywhere
from onegen_model.evaluation.ask.retrievers import Bm25Retriever
from onegen_model.evaluation.score.scores import HOPS, QUALITY, score

TEXT = (
    "The novel was written in a mill near the river.",
    "Grellenstad is the capital of Kethmark.",
    "Both bands were formed in Tavenoch.",
)


def test_the_quick_questions_are_eight_of_the_invented_world() -> None:
    quick = data.load(data.WORLD, unanswerable=True)
    assert len(quick.questions) == 8
    assert len(quick.paragraphs) == 300
    assert {"two_hops", "three_hops", "comparison", "unanswerable"} < {
        one.type for one in quick.questions
    }
    for question in quick.questions:
        assert set(question.hops) <= set(question.candidates) <= set(quick.paragraphs)
    answerable = data.load(data.WORLD).questions
    assert {one.id for one in answerable} < {one.id for one in quick.questions}
    assert all(answer for one in answerable for answer in one.answers)


def test_a_limit_spreads_questions_and_keeps_their_gold() -> None:
    everything = data.load(data.WORLD).questions
    cut = data.load(data.WORLD, limit=2, paragraphs=30)
    assert list(cut.questions) == [everything[0], everything[len(everything) // 2]]
    assert len(cut.paragraphs) == 30
    assert {i for one in cut.questions for i in one.hops} <= set(cut.paragraphs)


def test_a_cut_can_be_left_with_its_own_candidates() -> None:
    cut = data.own_candidates(data.load(data.WORLD, limit=2))
    assert len(cut.questions) == 2
    assert set(cut.paragraphs) == {i for one in cut.questions for i in one.candidates}


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"multihop_dev\.jsonl\.gz; expected"):
        data.load(tmp_path)


def test_a_corpus_that_lacks_a_paragraph_is_named(tmp_path: Path) -> None:
    first = data.load(data.WORLD).questions[0].hops[0]
    corpus = (data.WORLD / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    kept = b"".join(line for line in corpus if json.loads(line)["id"] != first)
    asked = (data.WORLD / "questions.jsonl").read_bytes()
    # Under the names that folders of real data have.
    (tmp_path / "multihop_dev.jsonl.gz").write_bytes(gzip.compress(asked))
    (tmp_path / "multihop_corpus.jsonl.gz").write_bytes(gzip.compress(kept))
    with pytest.raises(InvalidInputError, match=f"lacks 1 paragraphs .*the first: {first}"):
        data.load(tmp_path)


def test_a_paragraph_that_changed_is_embedded_again(tiny: Runner, tmp_path: Path) -> None:
    def cut(text: str) -> data.Data:
        return data.Data((), {"p": Document("p", text, "", "", "")}, None)

    assert isinstance(tiny.model, OneGenModel)
    before = data.open_index(tiny.model, cut(TEXT[0]), tmp_path)
    after = data.open_index(tiny.model, cut(TEXT[1]), tmp_path)
    assert [one.text for one in before.passages] == [TEXT[0]]
    assert [one.text for one in after.passages] == [TEXT[1]]


@pytest.fixture(scope="module")
def tiny(tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> Runner:
    config = CheckpointConfig(max_passage_tokens=96)
    model = OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, config, "0" * 64))
    passages = [Passage(f"p{n}", text[:40]) for n, text in enumerate(TEXT)]
    index = PassageIndex.build(model, passages)
    params = (SamplingParams(max_new_tokens=12), RetrievalParams(mode="always"))
    return Runner(model, index, params, 4)


@pytest.fixture
def run(tiny: Runner) -> RecordedRun:
    return tiny.in_batches(["Who wrote it?", "What is the capital?", "Which band was first?"])


def read_all(tiny: Runner, run: RecordedRun) -> list[CleanReading]:
    assert isinstance(tiny.retriever, PassageIndex)
    reader = CleanReader(tiny.model, tiny.retriever, tiny.params[1])
    return [reader.read(record) for record in run.records]


def test_the_checks_pass_on_a_tiny_model(tiny: Runner, run: RecordedRun) -> None:
    readings = read_all(tiny, run)
    assert all(
        any(isinstance(event, PassagesInserted) for event in record.events)
        for record in run.records
    )
    other = tiny.one_by_one([record.question for record in run.records])
    checks = [
        invariants.check_one_pass(run),
        invariants.check_clean(run, readings),
        invariants.check_alone(run, other, readings),
    ]
    assert [check.measured for check in checks if not check.passed] == []


def test_a_position_read_twice_is_seen(run: RecordedRun) -> None:
    run.counted.real += 1
    assert not invariants.check_one_pass(run).passed


def test_a_wrong_token_is_seen(tiny: Runner, run: RecordedRun) -> None:
    right = read_all(tiny, run)
    record = run.records[0]
    at, token = next((i, e) for i, e in enumerate(record.events) if isinstance(e, Token) and i > 3)
    wrong = replace(token, token_id=(token.token_id + 1) % 100)
    events = (*record.events[:at], wrong, *record.events[at + 1 :])
    other = RecordedRun("other", [replace(record, events=events), *run.records[1:]])
    assert not invariants.check_clean(other, read_all(tiny, other)).passed
    assert not invariants.check_alone(run, other, right).passed


def test_a_control_token_from_data_is_seen(tiny: Runner, run: RecordedRun) -> None:
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


def test_the_retrieval_benchmark_has_a_row_for_each_retriever_and_query(tiny: Runner) -> None:
    questions = tuple(
        data.GoldQuestion(f"q{n}", "2wiki", "bridge", text, ("A",), ("p1", "p2"), ("p1", "p2"))
        for n, text in enumerate(["What is the capital of Kethmark?", "Which band is it?"])
    )
    passages = [
        Passage(f"p{n}#0", text[:40], metadata={"paragraph": f"p{n}"})
        for n, text in enumerate(TEXT)
    ]
    index = PassageIndex.build(tiny.model, passages)
    asker = OnePass(tiny.model, lambda _: index, tiny.params[0], lambda _: tiny.params[1])
    traces = [one for some in ask(asker, questions, 2) for one in some]
    retrievers = {OURS: index, "BM25": Bm25Retriever(passages)}
    cut = data.Data(questions, {}, frozenset(["p1"]))
    frame = ("<FINAL-ANSWER>", "</FINAL-ANSWER>")
    rows = make_rows(cut, traces, make_rankers(retrievers, everywhere), frame)
    scores = score(rows, cut.trained)
    assert list(scores[QUALITY]) == [OURS, "BM25 (a) question", "BM25 (b) our span"]
    # All three passages are ranked by our own index; BM25 finds Kethmark, and no band.
    assert scores[HOPS][f"{OURS}, hop 1"]["recall@5"].value == 1
    assert scores[HOPS]["BM25 (a) question, hop 1"]["recall@1"].value == 0.5
    own = make_rows(cut, traces, make_rankers(retrievers, among_candidates), frame)
    ranked = {one for case in own[0].cases for hop in case.ranked for one in hop}
    assert ranked == {"p1", "p2"}


def test_results_hold_ids_in_place_of_questions() -> None:
    first, second = data.load(data.WORLD, limit=2).questions
    detail = f"token 3, 1.0e-04 apart (allowed): {second.text}"
    named = invariants.name_questions(detail, [first, second])
    assert named == f"token 3, 1.0e-04 apart (allowed): {second.id}"
