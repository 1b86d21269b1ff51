"""Queries of mining, and the candidates of BM25 and of a model."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

from onegen_model.finetune.data.collator import Collator, CollatorSettings, content_key
from onegen_model.finetune.data.datasets import open_data
from onegen_model.finetune.mining import search as candidate_search
from onegen_model.finetune.mining.mine import (
    MiningSources,
    _rank,
    mine,
    mining_queries,
    short_answer,
)
from onegen_model.finetune.mining.negatives import MiningSettings
from onegen_model.finetune.mining.search import (
    Bm25CandidateRetriever,
    ModelCandidateRetriever,
    Vector,
)
from onegen_model.retrieval.bm25 import words
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.embedder import embed_ids
from onegen_model.transcript.renderer import Renderer
from tests.unit.finetune.mining.conftest import (
    TOWNS,
    corpus_lines,
    negatives,
    read,
    transcript,
    write,
)

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
    sources: MiningSources, tmp_path: Path, train: Path
) -> None:
    summary = mine(
        sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl"
    )
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


def test_answers_can_be_kept_and_negatives_added_to(sources: MiningSources, tmp_path: Path) -> None:
    settings = MiningSettings(num_negatives=1, keep_answers=True, keep_negatives=True)
    mine(sources, Bm25CandidateRetriever(sources.corpus), settings, tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    assert all(negatives(line)[0] == "hull-mill" for line in mined)
    assert [len(negatives(line)) for line in mined] == [2] * 10
    assert len(set(negatives(mined[7]))) == 2, "what is there is not mined again"


def test_a_positive_of_the_same_query_elsewhere_is_no_negative(
    tmp_path: Path, passages: Path
) -> None:
    lines = [transcript(0), transcript(0, positives=["alba-church"])]
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    mine(sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    for line in read(tmp_path / "out.jsonl"):
        assert not {"alba-church", "alba-river"} & set(negatives(line))


def test_equal_scores_keep_the_order_of_the_corpus_up_to_the_last_rank(
    sources: MiningSources,
) -> None:
    retriever = Bm25CandidateRetriever(sources.corpus)
    scores = np.ones(len(sources.corpus), np.float32)
    scores[-2] = 2
    for depth in (1, 2, 5, 13, 100):
        found = [sources.corpus.row(one.passage) for one in _rank(retriever, scores, depth)]
        assert found == [22, *range(22), 23][:depth]


def test_a_retrieval_without_positive_is_unchanged(tmp_path: Path, passages: Path) -> None:
    lines = [transcript(0), transcript(1, positives=[])]
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    summary = mine(
        sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl"
    )
    assert read(tmp_path / "out.jsonl")[1] == lines[1]
    assert summary.queries == 1


def test_a_query_that_finds_no_word_keeps_its_negatives(tmp_path: Path, passages: Path) -> None:
    line = transcript(0)
    line["segments"][0]["text"] = "xyzzy?"
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", [line]), passages))
    summary = mine(
        sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl"
    )
    assert negatives(read(tmp_path / "out.jsonl")[0]) == negatives(line) != []
    assert (summary.negatives, summary.short, summary.none) == (0, 1, 1)


def test_passages_inside_the_examples_are_part_of_the_corpus(tmp_path: Path) -> None:
    by_id = {line["id"]: {k: line[k] for k in ("title", "text")} for line in corpus_lines()}
    lines = [transcript(n, positives=[by_id[f"{TOWNS[n]}-river"]], negatives=[]) for n in range(8)]
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), None))
    mine(sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    for line in read(tmp_path / "out.jsonl"):
        assert len(negatives(line)) == 4
        assert all(one in by_id.values() for one in negatives(line))
    again = MiningSources(open_data("transcripts", tmp_path / "out.jsonl", None))
    assert len(again.corpus) == 8


def test_half_a_character_is_mined_for_like_any_other(tmp_path: Path, passages: Path) -> None:
    line = transcript(0, negatives=[{"text": "half \ud83d"}])
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", [line]), passages))
    settings = MiningSettings(keep_negatives=True)
    mine(sources, Bm25CandidateRetriever(sources.corpus), settings, tmp_path / "out.jsonl")
    [mined] = open_data("transcripts", tmp_path / "out.jsonl", passages).examples
    assert len(mined.targets[0].negatives) == 5


def test_pairs_are_mined_too(tmp_path: Path) -> None:
    texts = [line["text"] for line in corpus_lines()]
    lines = [
        {"query": f"on which river lies {town}", "passage": text, "score": float(town in text)}
        for town in TOWNS[:3]
        for text in (texts[3 * TOWNS.index(town)], texts[-1])
    ] + [{"query": "the mill of dorn", "positive": [texts[10]], "negative": texts[:1]}]
    sources = MiningSources(open_data("pairs", write(tmp_path / "pairs.jsonl", lines), None))
    settings = MiningSettings(num_negatives=2, range_max=4)
    summary = mine(
        sources, Bm25CandidateRetriever(sources.corpus), settings, tmp_path / "out.jsonl"
    )
    mined = read(tmp_path / "out.jsonl")
    assert summary.examples == len(mined) == 4
    alone = next(line for line in mined if line["query"] == "the mill of dorn")
    assert alone["positive"] == [{"text": texts[10]}]
    examples = open_data("pairs", tmp_path / "out.jsonl", None).examples.require_sound()
    assert all(example.targets[0].positives for example in examples)
    lying = [one for one in mined if "lies" in one["query"]]
    assert all(one["negative"] and one["positive"][0] not in one["negative"] for one in lying)


def test_training_draws_what_was_mined(
    sources: MiningSources, tmp_path: Path, passages: Path, renderer: Renderer
) -> None:
    mine(sources, Bm25CandidateRetriever(sources.corpus), MiningSettings(), tmp_path / "out.jsonl")
    data = open_data("transcripts", tmp_path / "out.jsonl", passages)
    collator = Collator(renderer, data.passages, CollatorSettings(num_negatives=4))
    batch = collator([data.examples[0]])
    mined = {content_key(data.passages[name]) for name in data.examples[0].targets[0].negatives}
    drawn = batch["passage_keys"][batch["negatives"][0]].tolist()
    assert set(drawn) == mined
    assert len(mined) == 4


# With a model.


def test_a_model_searches_with_the_states_at_its_query_tokens(
    sources: MiningSources, model: Any, tmp_path: Path, renderer: Renderer
) -> None:
    queries = [query for e in sources.examples for query, _ in mining_queries(e)]
    retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path / "vectors")
    scores = np.stack([row for row in retriever.score(queries) if row is not None])
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
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    queries = [query for e in list(sources.examples) for query, _ in mining_queries(e)]
    assert [(query.example.id, query.hop) for query in queries] == [("1", 0), ("0", 0), ("0", 1)]
    retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path / "vectors")
    found = np.stack([row for row in retriever.score(queries) if row is not None])
    rendered = Collator(renderer, sources.corpus.named).render(sources.examples[1])
    heads = [rendered.ids[: at + 1] for at in rendered.query_positions]
    corpus = [renderer.embed_ids(passage) for passage in sources.corpus.passages]
    expected = embed_ids(model.network, heads) @ embed_ids(model.network, corpus).T
    assert np.abs(found[1:] - expected).max() < 1e-5


@pytest.mark.usefixtures("small_blocks")
def test_vectors_are_kept_and_embedded_again_only_where_damaged(
    sources: MiningSources, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_search, "_SHARD", 10)
    embedded: list[int] = []

    def counted(network: PreTrainedModel, rows: Sequence[Sequence[int]], **options: Any) -> Vector:
        embedded.append(len(rows))
        return embed_ids(network, rows, **options)

    monkeypatch.setattr(candidate_search, "embed_ids", counted)

    def run(name: str, model: Any) -> bytes:
        retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path / "vectors")
        mine(sources, retriever, MiningSettings(), tmp_path / name)
        return (tmp_path / name).read_bytes()

    first = run("a.jsonl", model)
    assert sum(embedded) == 24
    shards = len(embedded)
    assert shards > 1
    assert run("b.jsonl", model) == first
    assert len(embedded) == shards
    torn = min((tmp_path / "vectors").glob("*/vectors-*.npy"))
    torn.write_bytes(torn.read_bytes()[:300])
    assert run("c.jsonl", model) == first
    assert len(embedded) == shards + 1
    run("d.jsonl", SimpleNamespace(**{**vars(model), "fingerprint": "e" * 64}))
    assert len(embedded) == 2 * shards + 1, "vectors of another model are not its own"
    assert len({len(EmbeddedCorpus.open(one)) for one in (tmp_path / "vectors").iterdir()}) == 1


def test_a_transcript_too_long_for_the_model_is_unchanged(
    tmp_path: Path, passages: Path, model: Any
) -> None:
    long = transcript(0)
    long["question"] = "Which river? " * 300
    lines = [long, transcript(1)]
    sources = MiningSources(open_data("transcripts", write(tmp_path / "t.jsonl", lines), passages))
    retriever = ModelCandidateRetriever(model, sources.corpus, tmp_path / "vectors")
    summary = mine(sources, retriever, MiningSettings(), tmp_path / "out.jsonl")
    mined = read(tmp_path / "out.jsonl")
    assert mined[0] == long
    assert negatives(mined[1]) != ["hull-mill"]
    assert (summary.unread, summary.queries) == (1, 2)
