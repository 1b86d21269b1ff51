"""Passages into an embedded corpus from Python, as `onegen embed` does it."""

from pathlib import Path

import numpy as np
import pytest

from onegen_model import (
    CorpusOptions,
    EmbeddedCorpus,
    Passage,
    PassageIndex,
    build_corpus,
)
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.retrieval.corpus_building import Worker
from tests.support.embedded_corpora import embed, passages
from tests.support.fake_embedder import FakeEmbedder

SMALL = CorpusOptions(shard_size=10)


def test_passages_become_a_corpus_that_an_index_loads(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    report = build_corpus(embedder, iter(passages(100)), tmp_path / "emb", options=SMALL)
    assert (report.passages, report.embedded, report.has_finished) == (100, 100, True)
    assert report.present == report.shards > 3
    corpus = EmbeddedCorpus.open(tmp_path / "emb")
    assert np.allclose(np.concatenate([r for _, r in corpus.batches()]), embed(passages(100)))
    assert PassageIndex.load(embedder, str(tmp_path / "emb")).passages == tuple(passages(100))


def test_only_what_changed_is_embedded_again(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    build_corpus(embedder, passages(100), tmp_path, options=SMALL)
    changed = [*passages(99), Passage("p99", "another text")]
    report = build_corpus(embedder, changed, tmp_path, options=SMALL)
    assert 0 < report.embedded <= 20
    assert build_corpus(embedder, changed, tmp_path, options=SMALL).embedded == 0


def test_a_stopped_job_continues(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    stopped = build_corpus(
        embedder,
        passages(100),
        tmp_path,
        options=SMALL,
        should_stop=lambda: len(embedder.embedded) >= 50,
    )
    assert stopped.was_stopped
    assert 0 < stopped.present < stopped.shards
    with pytest.raises(PassageIndexError, match="is not finished"):
        EmbeddedCorpus.open(tmp_path)
    assert build_corpus(embedder, passages(100), tmp_path, options=SMALL).has_finished
    assert len(embedder.embedded) <= 100 + 20


def test_workers_divide_the_shards_and_one_of_them_finishes(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    reports = [
        build_corpus(
            embedder,
            passages(100),
            tmp_path,
            options=CorpusOptions(shard_size=10, worker=Worker(rank, 3)),
        )
        for rank in (1, 0, 2)
    ]
    assert [report.has_finished for report in reports] == [False, False, True]
    assert sum(report.embedded for report in reports) == len(embedder.embedded) == 100


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([Passage("a", "")], "Passage 'a' is empty; expected some text"),
        ([Passage("a", "x"), Passage("a", "y")], "Two passages have the id 'a'"),
        ([Passage("a", "\ud800")], "Passage 'a' cannot be saved"),
        (["text"], r"passages\[0\] is a str; expected a Passage"),
    ],
)
def test_a_passage_that_cannot_be_embedded_is_named(
    tmp_path: Path, given: list[Passage], complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        build_corpus(FakeEmbedder(), given, tmp_path / "emb")
    assert not (tmp_path / "emb").exists()


def test_bad_options_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="batch=0; expected at least 1; change --batch"):
        CorpusOptions(batch=0)
    with pytest.raises(InvalidInputError, match="stored_as='int8'; expected float32 or float16"):
        CorpusOptions(stored_as="int8")


def test_a_corpus_that_became_an_index_is_not_finished_over_it(tmp_path: Path) -> None:
    """A process of `onegen embed` that ends after `onegen index` has saved into its folder."""
    embedder = FakeEmbedder()
    build_corpus(embedder, passages(100), tmp_path, options=SMALL)
    changed = [*passages(99), Passage("p99", "another text")]

    def grow_meanwhile() -> bool:
        index = PassageIndex.load(embedder, tmp_path)
        index.add([Passage("new", "text")])
        index.save(tmp_path)
        return False

    with pytest.raises(PassageIndexError, match="was changed by another process meanwhile"):
        build_corpus(embedder, changed, tmp_path, options=SMALL, should_stop=grow_meanwhile)
    assert "new" in PassageIndex.load(embedder, tmp_path)
