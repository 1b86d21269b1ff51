"""Hard negatives: what may be one, who finds it, and that a killed run goes on."""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

from onegen_model.bm25 import words
from onegen_model.cli import main
from onegen_model.embedding import embed_ids
from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import Passage, ScoredPassage
from onegen_model.finetune import mining, searching
from onegen_model.finetune.collator import Collator, CollatorSettings, content_key
from onegen_model.finetune.data import open_data
from onegen_model.finetune.mining import (
    Sources,
    _rank,
    mine,
    mining_queries,
    short_answer,
)
from onegen_model.finetune.negatives import (
    Known,
    MiningSettings,
    Selection,
    holds_answer,
    select_negatives,
)
from onegen_model.finetune.resuming import PartialFile
from onegen_model.finetune.searching import (
    Bm25Searcher,
    Corpus,
    MiningQuery,
    ModelSearcher,
    Vector,
)
from onegen_model.template import Renderer

TOWNS = ("alba", "brig", "cary", "dorn", "elva", "fink", "gora", "hull")
RIVERS = ("amon", "bure", "cole", "dove", "ebro", "foss", "gade", "hodder")


def corpus_lines() -> list[dict[str, str]]:
    """Of each town: its river, its mill on that river, and its church."""
    lines = []
    for town, river in zip(TOWNS, RIVERS, strict=True):
        lines += [
            {"id": f"{town}-river", "title": town, "text": f"{town} lies on the river {river}."},
            {"id": f"{town}-mill", "title": town, "text": f"The mill of {town} uses the {river}."},
            {"id": f"{town}-church", "title": town, "text": f"{town} has a church and a market."},
        ]
    return lines


def transcript(number: int, **changes: Any) -> dict[str, Any]:
    town, river = TOWNS[number % 8], RIVERS[number % 8]
    target = {"positives": [f"{town}-river"], "negatives": ["hull-mill"], "inserted": []}
    answered = f" {river}\n<FINAL-ANSWER> {river}</FINAL-ANSWER>"
    return {
        "id": number,
        "question": f"Which river flows through {town}, number {number}?",
        "segments": [
            {"text": f"On which river lies {town}?", "target": target | changes},
            {"text": answered},
        ],
    }


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def negatives(line: dict[str, Any], segment: int = 0) -> list[Any]:
    found: list[Any] = line["segments"][segment]["target"]["negatives"]
    return found


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", [transcript(number) for number in range(10)])


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    return write(tmp_path / "passages.jsonl", corpus_lines())


@pytest.fixture
def sources(train: Path, passages: Path) -> Sources:
    return Sources(open_data("transcripts", train, passages))


# What may be a negative.

RANKED = [ScoredPassage(Passage(str(n), f"text {n}"), 1 - n / 10) for n in range(1, 9)]
NONE_KNOWN = Known(frozenset(), 10.0)


def select(known: Known = NONE_KNOWN, **settings: Any) -> Selection:
    chosen = MiningSettings(**{"num_negatives": 3, "range_min": 1, "range_max": 8, **settings})
    return select_negatives(RANKED, known, chosen, random.Random(0))


def ids(selection: Selection) -> list[str]:
    return [passage.id for passage in selection.passages]


def test_the_best_of_the_ranks_are_taken() -> None:
    assert ids(select()) == ["1", "2", "3"]
    assert ids(select(range_min=3)) == ["3", "4", "5"]
    assert ids(select(range_min=4, range_max=5, num_negatives=2)) == ["4", "5"]


def test_a_positive_is_known_by_its_content_whatever_its_id() -> None:
    known = Known(frozenset({content_key(Passage("another id", "text 2"))}), 10.0)
    assert ids(select(known)) == ["1", "3", "4"]
    assert ids(select(known, range_min=2)) == ["3", "4", "5"], "it holds a rank all the same"


def test_the_same_content_is_taken_once() -> None:
    ranked = [ScoredPassage(Passage(name, "text"), 0.5) for name in "ab"]
    settings = MiningSettings(num_negatives=2, range_min=1)
    assert len(select_negatives(ranked, NONE_KNOWN, settings, random.Random(0)).passages) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"relative_margin": 0.05}, ["3", "4", "5"]),  # 0.8 * 0.95 = 0.76
        ({"relative_margin": 0.2}, ["4", "5", "6"]),
        ({"relative_margin": None, "absolute_margin": 0.15}, ["4", "5", "6"]),
        ({"relative_margin": None, "max_score": 0.45}, ["6", "7", "8"]),
        ({"relative_margin": 0.05, "max_score": 0.45}, ["6", "7", "8"]),
        ({"relative_margin": None}, ["1", "2", "3"]),
    ],
)
def test_what_scores_too_near_a_positive_is_left_out(
    settings: dict[str, Any], expected: list[str]
) -> None:
    selection = select(Known(frozenset(), 0.8), **settings)
    assert ids(selection) == expected
    assert selection.scoring_high == int(expected[0]) - 1


def test_a_margin_below_a_negative_score_is_still_below_it() -> None:
    assert MiningSettings(relative_margin=0.1).highest_score(-0.5) == pytest.approx(-0.55)


def test_a_passage_with_the_answer_is_left_out_unless_wanted() -> None:
    known = Known(frozenset(), 10.0, ("Text 1!", "text  3"))
    selection = select(known)
    assert ids(selection) == ["2", "4", "5"]
    assert (selection.holding_answer, selection.scoring_high) == (2, 0)
    assert ids(select(known, keep_answers=True)) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("answer", "text", "held"),
    [
        ("May 5, 1988", "born MAY 5 1988 in", True),
        ("art", "a party", False),
        ("Jørn Utzon", "by jørn utzon.", True),
        ("no", "there is no such thing", False),
        ("北京", "首都是北京。", True),
        ("H\uff12O", "h2o", True),
        ("", "anything", False),
        ("?!", "anything", False),
    ],
)
def test_answers_are_found_as_whole_words(answer: str, text: str, held: bool) -> None:
    assert holds_answer(Passage("p", text), answer) == held


def test_an_answer_in_the_title_counts() -> None:
    assert holds_answer(Passage("p", "A painter.", "Ada Lindqvist"), "Ada Lindqvist")


def test_random_sampling_is_repeatable_and_keeps_the_order() -> None:
    settings = MiningSettings(num_negatives=3, range_min=1, sampling_strategy="random")
    drawn = [
        select_negatives(RANKED, NONE_KNOWN, settings, random.Random(seed)) for seed in range(20)
    ]
    again = select_negatives(RANKED, NONE_KNOWN, settings, random.Random(7))
    assert ids(again) == ids(drawn[7])
    assert all(ids(one) == sorted(ids(one)) and len(set(ids(one))) == 3 for one in drawn)
    assert len({tuple(ids(one)) for one in drawn}) > 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_negatives": 0}, "num_negatives=0; expected at least 1"),
        ({"range_min": 0}, "Ranks 0 to 30"),
        ({"range_min": 5, "range_max": 4}, "Ranks 5 to 4"),
        ({"num_negatives": 4, "range_max": 4}, "4 negatives of ranks 2 to 4"),
        ({"relative_margin": -0.1}, "relative_margin=-0.1; expected 0 or more"),
        ({"absolute_margin": float("nan")}, "absolute_margin=nan"),
        ({"max_score": float("nan")}, "max_score is not a number"),
        ({"sampling_strategy": "best"}, "expected one of top, random"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        MiningSettings(**settings)


# What is asked.


def test_the_query_is_the_line_before_its_token_and_its_answer_the_line_behind(
    tmp_path: Path, passages: Path
) -> None:
    target = {"positives": ["alba-river"]}
    line = {
        "id": "q",
        "question": "Where is it?",
        "segments": [
            {"text": "", "target": target},
            {"text": " alba\nWhich river?\n", "target": {"positives": []}},
            {"text": " amon\nWhich sea?", "target": target},
            {"text": " <FINAL-ANSWER> the North Sea</FINAL-ANSWER>"},
        ],
    }
    path = write(tmp_path / "one.jsonl", [line])
    [example] = open_data("transcripts", path, passages).examples
    first, third = mining_queries(example)
    assert (first[0].hop, first[0].text) == (0, "Where is it?")
    assert first[1] == ("alba", "amon", "the North Sea"), "a question has all answers that follow"
    assert (third[0].hop, third[0].text) == (2, "Which sea?")
    assert third[1] == ("the North Sea",)
    assert short_answer("\n A. Name <FINAL-ANSWER> B") == "A. Name"


def test_words_have_no_case_and_no_punctuation() -> None:
    assert words("Café_No. 1,204: 東京!") == ["café", "no", "1", "204", "東", "京"]


# Files.


def test_mining_with_bm25_finds_what_reads_alike_and_is_wrong(
    sources: Sources, tmp_path: Path, train: Path
) -> None:
    summary = mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    for number, (before, after) in enumerate(zip(read(train), mined, strict=True)):
        town = TOWNS[number % 8]
        found = negatives(after)
        assert f"{town}-church" in found, "of the same town, without the answer"
        assert f"{town}-mill" not in found, "it names the river"
        assert not {f"{town}-river", "hull-mill"} & set(found)
        assert len(found) == 4
        before["segments"][0]["target"]["negatives"] = found
        assert after == before, "nothing else changed"
    assert (summary.examples, summary.queries, summary.negatives) == (10, 10, 40)
    assert (summary.short, summary.unread) == (0, 0)
    assert summary.holding_answer == 10


def test_answers_can_be_kept_and_negatives_added_to(sources: Sources, tmp_path: Path) -> None:
    settings = MiningSettings(num_negatives=1, keep_answers=True, keep_negatives=True)
    mine(sources, Bm25Searcher(sources.corpus), settings, tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    assert all(negatives(line)[0] == "hull-mill" for line in mined)
    assert [len(negatives(line)) for line in mined] == [2] * 10
    assert len(set(negatives(mined[7]))) == 2, "what is there is not mined again"


def test_a_positive_of_the_same_query_elsewhere_is_no_negative(
    tmp_path: Path, passages: Path
) -> None:
    lines = [transcript(0), transcript(0, positives=["alba-church"])]
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    for line in read(tmp_path / "out.jsonl"):
        assert not {"alba-church", "alba-river"} & set(negatives(line))


def test_equal_scores_stand_in_the_order_of_the_corpus_up_to_the_last_rank(
    sources: Sources,
) -> None:
    searcher = Bm25Searcher(sources.corpus)
    scores = np.ones(len(sources.corpus), np.float32)
    scores[-2] = 2
    for depth in (1, 2, 5, 13, 100):
        found = [sources.corpus.row(one.passage) for one in _rank(searcher, scores, depth)]
        assert found == [22, *range(22), 23][:depth]


def test_a_retrieval_without_positive_stays_as_it_is(tmp_path: Path, passages: Path) -> None:
    lines = [transcript(0), transcript(1, positives=[])]
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    summary = mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl")[1] == lines[1]
    assert summary.queries == 1


def test_a_query_that_finds_no_word_gets_no_negative(tmp_path: Path, passages: Path) -> None:
    line = transcript(0)
    line["segments"][0]["text"] = "xyzzy?"
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", [line]), passages))
    summary = mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    assert negatives(read(tmp_path / "out.jsonl")[0]) == []
    assert (summary.negatives, summary.short) == (0, 1)


def test_passages_inside_the_examples_are_part_of_the_corpus(tmp_path: Path) -> None:
    by_id = {line["id"]: {k: line[k] for k in ("title", "text")} for line in corpus_lines()}
    lines = [transcript(n, positives=[by_id[f"{TOWNS[n]}-river"]], negatives=[]) for n in range(8)]
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), None))
    mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    for line in read(tmp_path / "out.jsonl"):
        assert len(negatives(line)) == 4
        assert all(one in by_id.values() for one in negatives(line))
    again = Sources(open_data("transcripts", tmp_path / "out.jsonl", None))
    assert len(again.corpus) == 8


def test_half_a_character_is_mined_for_like_any_other(tmp_path: Path, passages: Path) -> None:
    line = transcript(0, negatives=[{"text": "half \ud83d"}])
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", [line]), passages))
    settings = MiningSettings(keep_negatives=True)
    mine(sources, Bm25Searcher(sources.corpus), settings, tmp_path / "out.jsonl")
    [mined] = open_data("transcripts", tmp_path / "out.jsonl", passages).examples
    assert len(mined.targets[0].negatives) == 5


def test_pairs_are_mined_too(tmp_path: Path) -> None:
    texts = [line["text"] for line in corpus_lines()]
    lines = [
        {"query": f"on which river lies {town}", "passage": text, "score": float(town in text)}
        for town in TOWNS[:3]
        for text in (texts[3 * TOWNS.index(town)], texts[-1])
    ] + [{"query": "the mill of dorn", "positive": [texts[10]], "negative": texts[:1]}]
    sources = Sources(open_data("pairs", write(tmp_path / "pairs.jsonl", lines), None))
    settings = MiningSettings(num_negatives=2, range_max=4)
    summary = mine(sources, Bm25Searcher(sources.corpus), settings, tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    assert summary.examples == len(mined) == 4
    alone = next(line for line in mined if line["query"] == "the mill of dorn")
    assert alone["positive"] == [{"text": texts[10]}]
    examples = open_data("pairs", tmp_path / "out.jsonl", None).examples.require_sound()
    assert all(example.targets[0].positives for example in examples)
    lying = [one for one in mined if "lies" in one["query"]]
    assert all(one["negative"] and one["positive"][0] not in one["negative"] for one in lying)


def test_training_draws_what_was_mined(
    sources: Sources, tmp_path: Path, passages: Path, renderer: Renderer
) -> None:
    mine(sources, Bm25Searcher(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    data = open_data("transcripts", tmp_path / "out.jsonl", passages)
    collator = Collator(renderer, data.passages, CollatorSettings(num_negatives=4))
    batch = collator([data.examples[0]])
    mined = {content_key(data.passages[name]) for name in data.examples[0].targets[0].negatives}
    drawn = batch["passage_keys"][batch["negatives"][0]].tolist()
    assert set(drawn) == mined
    assert len(mined) == 4


# Killed, and called again.


class Failing:
    """A searcher that is killed after some blocks."""

    def __init__(self, inner: Bm25Searcher, calls: int) -> None:
        self.corpus, self.name, self.floor = inner.corpus, inner.name, inner.floor
        self._inner, self._calls = inner, calls

    def score(self, queries: Sequence[MiningQuery]) -> Iterator[Vector | None]:
        if not self._calls:
            raise KeyboardInterrupt
        self._calls -= 1
        return self._inner.score(queries)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "_BLOCK", 3)


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    sources: Sources, tmp_path: Path
) -> None:
    bm25, settings = Bm25Searcher(sources.corpus), MiningSettings()
    whole = mine(sources, bm25, settings, tmp_path / "whole.jsonl")
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 2), settings, out)
    partial = tmp_path / "out.jsonl.partial"
    assert not out.exists()
    assert len(read(partial)) == 6
    with partial.open("ab") as torn:
        torn.write(b'{"id": 6, "quest')
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 1), settings, out)
    assert len(read(partial)) == 9
    assert mine(sources, Failing(bm25, 1), settings, out) == whole
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert list(tmp_path.glob("*partial*")) == []


@pytest.mark.usefixtures("small_blocks")
def test_other_settings_do_not_go_on_unless_forced(sources: Sources, tmp_path: Path) -> None:
    bm25, out = Bm25Searcher(sources.corpus), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(bm25, 1), MiningSettings(), out)
    other = MiningSettings(num_negatives=2)
    with pytest.raises(InvalidInputError, match=r"num_negatives was 4 and is 2 now.*--force"):
        mine(sources, bm25, other, out)
    assert mine(sources, bm25, other, out, force=True).negatives == 20
    assert all(len(negatives(line)) == 2 for line in read(out))


@pytest.mark.usefixtures("small_blocks")
def test_another_corpus_does_not_go_on(
    sources: Sources, tmp_path: Path, train: Path, passages: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        mine(sources, Failing(Bm25Searcher(sources.corpus), 1), MiningSettings(), out)
    write(passages, [*corpus_lines(), {"id": "new", "text": "Something new."}])
    other = Sources(open_data("transcripts", train, passages))
    with pytest.raises(InvalidInputError, match="corpus was"):
        mine(other, Bm25Searcher(other.corpus), MiningSettings(), out)


def test_force_goes_on_too_where_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    PartialFile(path, {"a": 1}, force=True).append(["x"], {"n": 2}, items=1)
    again = PartialFile(path, {"a": 1}, force=True)
    assert (again.done, again.counts["n"]) == (1, 2)
    assert path.read_text() == "older", "until the end"
    again.append(["y"], {"n": 1}, items=1)
    again.finish()
    assert path.read_text() == "x\ny\n"


@pytest.mark.parametrize("damage", ["state", "lines"])
def test_a_damaged_partial_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    PartialFile(tmp_path / "out", {}).append(["x"], {}, items=1)
    if damage == "state":
        (tmp_path / "out.partial.json").write_text('{"settings":')
    else:
        (tmp_path / "out.partial").write_text("")
    with pytest.raises(InvalidInputError, match=r"cannot be gone on with.*--force"):
        PartialFile(tmp_path / "out", {})
    assert PartialFile(tmp_path / "out", {}, force=True).done == 0


# With a model.


@pytest.fixture
def model(tiny_network: PreTrainedModel, renderer: Renderer) -> Any:
    return SimpleNamespace(network=tiny_network, renderer=renderer, fingerprint="f" * 64)


def test_a_model_searches_with_the_states_at_its_query_tokens(
    sources: Sources, model: Any, tmp_path: Path, renderer: Renderer
) -> None:
    queries = [query for e in sources.examples for query, _ in mining_queries(e)]
    searcher = ModelSearcher(model, sources.corpus, tmp_path / "vectors")
    scores = np.stack([row for row in searcher.score(queries) if row is not None])
    collator = Collator(renderer, sources.corpus.named, CollatorSettings())
    heads = []
    for example in sources.examples:
        rendered = collator.render(example)
        heads.append(rendered.ids[: rendered.query_positions[0] + 1])
    corpus = [renderer.embed_ids(passage) for passage in sources.corpus.passages]
    expected = embed_ids(model.network, heads) @ embed_ids(model.network, corpus).T
    assert np.abs(scores - expected).max() < 1e-5
    assert scores.shape == (10, 24)


def test_both_hops_of_an_example_are_read_in_one_transcript(
    tmp_path: Path, passages: Path, model: Any, renderer: Renderer
) -> None:
    line = transcript(0)
    line["segments"].insert(1, transcript(3)["segments"][0])
    lines = [transcript(1), line]
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    queries = [query for e in list(sources.examples) for query, _ in mining_queries(e)]
    assert [(query.example.id, query.hop) for query in queries] == [("1", 0), ("0", 0), ("0", 1)]
    searcher = ModelSearcher(model, sources.corpus, tmp_path / "vectors")
    found = np.stack([row for row in searcher.score(queries) if row is not None])
    rendered = Collator(renderer, sources.corpus.named).render(sources.examples[1])
    heads = [rendered.ids[: at + 1] for at in rendered.query_positions]
    corpus = [renderer.embed_ids(passage) for passage in sources.corpus.passages]
    expected = embed_ids(model.network, heads) @ embed_ids(model.network, corpus).T
    assert np.abs(found[1:] - expected).max() < 1e-5


@pytest.mark.usefixtures("small_blocks")
def test_vectors_are_kept_and_embedded_again_only_where_damaged(
    sources: Sources, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_SHARD", 10)
    embedded: list[int] = []

    def counted(network: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Vector:
        embedded.append(len(rows))
        return embed_ids(network, rows)

    monkeypatch.setattr(searching, "embed_ids", counted)

    def run(name: str, model: Any) -> bytes:
        searcher = ModelSearcher(model, sources.corpus, tmp_path / "vectors")
        mine(sources, searcher, MiningSettings(), tmp_path / name)
        return (tmp_path / name).read_bytes()

    first = run("a.jsonl", model)
    assert embedded == [10, 10, 4]
    assert run("b.jsonl", model) == first
    assert len(embedded) == 3
    torn = sorted((tmp_path / "vectors").iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:300])
    assert run("c.jsonl", model) == first
    assert len(embedded) == 4
    run("d.jsonl", SimpleNamespace(**{**vars(model), "fingerprint": "e" * 64}))
    assert len(embedded) == 7, "vectors of another model are not its own"


def test_a_transcript_too_long_for_the_model_stays_as_it_is(
    tmp_path: Path, passages: Path, model: Any
) -> None:
    long = transcript(0)
    long["question"] = "Which river? " * 300
    lines = [long, transcript(1)]
    sources = Sources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    searcher = ModelSearcher(model, sources.corpus, tmp_path / "vectors")
    summary = mine(sources, searcher, MiningSettings(), tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    assert mined[0] == long
    assert negatives(mined[1]) != ["hull-mill"]
    assert (summary.unread, summary.queries) == (1, 2)


# The command.


def test_the_command_mines_and_what_it_writes_is_sound(
    train: Path, passages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mined.jsonl"
    command = ["mine", str(train), "--passages", str(passages), "--out", str(out)]
    assert main([*command, "--negatives", "3", "--ranks", "1-20"]) == 0
    shown = capsys.readouterr().out
    assert "30 for 10 retrievals with a positive (3.00 each)" in shown
    assert "10 candidates hold the answer" in shown
    assert main(command) == 2
    assert "exists; expected a new file" in capsys.readouterr().err
    assert main([*command, "--json", "--force"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(out)
    assert told["negatives"] == 40
    assert Sources(open_data("transcripts", out, passages)).corpus


def test_the_command_searches_with_a_model(
    train: Path, passages: Path, tmp_path: Path, model: Any, sources: Sources
) -> None:
    asked = []

    def load(name: str | None, dtype: str) -> Any:
        asked.append((name, dtype))
        return model

    searcher = ModelSearcher(model, sources.corpus, tmp_path / "other")
    mine(sources, searcher, MiningSettings(), tmp_path / "expected.jsonl")
    command = ["mine", str(train), "--passages", str(passages)]
    for name, choice in (("a", "model"), ("b", "some/folder")):
        out = tmp_path / f"{name}.jsonl"
        assert main([*command, "--out", str(out), "--with", choice], load) == 0
        assert out.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    assert asked == [(None, "float32"), ("some/folder", "float32")]
    assert any((tmp_path / "vectors").iterdir())


@pytest.mark.usefixtures("small_blocks")
def test_ctrl_c_says_how_to_go_on(
    train: Path,
    passages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "mined.jsonl"
    command = ["mine", str(train), "--passages", str(passages), "--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Bm25Searcher", lambda corpus: Failing(Bm25Searcher(corpus), 2))
        assert main(command) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert main(command) == 0
    assert len(read(out)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "5"], "ranks '5'; expected two numbers as in 2-30"),
        (["--ranks", "9-3"], "Ranks 9 to 3"),
        (["--negatives", "0"], "num_negatives=0"),
        (["--margin", "nan"], "relative_margin=nan"),
        (["--out", "nowhere/out.jsonl"], "expected a file in a folder that exists"),
        (["--out", "out.jsonl.gz"], "no .gz"),
        (["--out", "train.jsonl", "--force"], "not the one that is read"),
        (["--out", "passages.jsonl", "--force"], "is the corpus"),
        (["--passages", "nowhere.jsonl"], "No file nowhere.jsonl"),
    ],
)
def test_a_command_that_cannot_run_is_one_line(
    options: list[str],
    message: str,
    train: Path,
    passages: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(train.parent)
    before = (train.read_bytes(), passages.read_bytes())
    command = ["mine", "train.jsonl", "--passages", "passages.jsonl", "--out", "out.jsonl"]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (train.read_bytes(), passages.read_bytes()) == before


def test_data_that_cannot_be_mined_for_is_refused(tmp_path: Path, passages: Path) -> None:
    unknown = write(tmp_path / "a.jsonl", [transcript(0), transcript(1, positives=["gone"])])
    with pytest.raises(InvalidInputError, match=r"a.jsonl:2: .*no passage 'gone'"):
        Sources(open_data("transcripts", unknown, passages))
    aimless = write(tmp_path / "b.jsonl", [transcript(0, positives=[])])
    with pytest.raises(InvalidInputError, match=r"No retrieval of .* has a positive"):
        Sources(open_data("transcripts", aimless, passages))


def test_without_bm25s_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"onegen\[evaluate\]"):
        Bm25Searcher(Corpus({"a": Passage("a", "text")}))


def test_a_corpus_without_words_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="holds a word"):
        Bm25Searcher(Corpus({"a": Passage("a", "?!")}))
