"""Shards of a corpus, and reading an embedded corpus."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, OneGenModel, Passage, PassageIndex
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.retrieval.embedder import embed_ids
from onegen_model.retrieval.shards import cut
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.embedded_corpora import MADE, embed, make, only, passages
from tests.support.fake_embedder import FakeEmbedder, unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    assert make(tmp_path / "corpus", passages(100)) > 2
    return tmp_path / "corpus"


# --- cutting ---


def test_shards_hold_every_passage_once_and_in_order() -> None:
    corpus = passages(1000)
    for size in (1, 2, 7, 100, 5000):
        shards = cut(corpus, size)
        assert [passage for shard in shards for passage in shard.passages] == corpus
        assert max(len(shard.passages) for shard in shards) <= 2 * size
    assert 600 / 100 < len(cut(corpus, 100)) < 1500 / 100
    assert [len(shard.passages) for shard in cut(corpus, 1)] == [1] * 1000


def test_equal_passages_are_cut_all_the_same() -> None:
    same = [Passage(str(n), "the same text") for n in range(100)]
    assert max(len(shard.passages) for shard in cut(same, 10)) <= 20


@pytest.mark.parametrize("at", [0, 333, 999])
def test_a_passage_more_changes_the_shard_it_is_in_alone(at: int) -> None:
    corpus = passages(1000)
    before = {shard.content for shard in cut(corpus, 50)}
    after = [shard.content for shard in cut([*corpus[:at], Passage("x", "new"), *corpus[at:]], 50)]
    assert len([content for content in after if content not in before]) <= 2


def test_content_is_titles_and_texts_and_not_the_border_between_them() -> None:
    contents = {
        cut([Passage("1", text, title)], 9)[0].content
        for title, text in (("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""))
    }
    assert len(contents) == 4


# --- reading ---


def test_a_corpus_is_read_as_it_was_embedded(path: Path) -> None:
    corpus = EmbeddedCorpus.open(path, fingerprint="f" * 64)
    assert (corpus.fingerprint, corpus.dimension, len(corpus)) == ("f" * 64, 8, 100)
    for size in (1, 7, 1000):
        batches = list(corpus.batches(size))
        assert max(len(some) for some, _ in batches) <= size
        assert [passage for some, _ in batches for passage in some] == passages(100)
        rows = np.concatenate([vectors for _, vectors in batches])
        assert rows.dtype == np.float32
        assert np.array_equal(rows, embed(passages(100)))
    with pytest.raises(InvalidInputError, match="size=0; expected at least 1"):
        next(corpus.batches(0))


def test_half_the_space_on_request(tmp_path: Path) -> None:
    make(tmp_path, passages(50), made=replace(MADE, stored_as="float16"))
    rows = np.concatenate([rows for _, rows in EmbeddedCorpus.open(tmp_path).batches()])
    assert rows.dtype == np.float32
    assert np.abs(rows - embed(passages(50))).max() < 1e-3
    stored = sum(np.load(file).nbytes for file in tmp_path.glob("*.npy"))
    assert stored == 50 * 8 * 2
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path)) == 50


def test_an_index_loads_it_without_embedding_and_finds_the_same(path: Path) -> None:
    embedder = FakeEmbedder()
    built = PassageIndex.build(embedder, passages(100))
    embedder.embedded.clear()
    index = PassageIndex.load(embedder, path)
    queries = np.array([unit(f"question {n}") for n in range(20)])
    assert index.search(queries, 5) == built.search(queries, 5)
    assert index.passages == built.passages
    index.save(path.parent / "my.index")
    assert PassageIndex.load(embedder, path.parent / "my.index").passages == built.passages
    assert embedder.embedded == []


def test_vectors_of_another_model_are_refused(path: Path) -> None:
    with pytest.raises(
        PassageIndexError,
        match=r"embedded by another model \(fingerprint ffffffffffff…\); expected 000000000000…",
    ):
        PassageIndex.load(FakeEmbedder(fingerprint="0" * 64), path)
    with pytest.raises(PassageIndexError, match="use its own model, or embed the documents again"):
        EmbeddedCorpus.open(path, fingerprint="0" * 64)
    assert len(EmbeddedCorpus.open(path)) == 100


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


each_damage = pytest.mark.parametrize("damage", [cut_short, flip, Path.unlink])
each_kind = pytest.mark.parametrize("kind", ["vectors-*.npy", "passages-*.jsonl"])


@each_damage
@each_kind
def test_a_damaged_shard_is_never_read(
    path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    file = only(list(path.glob(kind)))
    damage(file)
    with pytest.raises(
        PassageIndexError, match=f"(lacks {file.name}|holds {file.name} damaged); expected"
    ):
        PassageIndex.load(FakeEmbedder(), path)


@each_damage
@each_kind
def test_a_damaged_shard_is_made_again_and_no_other(
    path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    damage(only(list(path.glob(kind))))
    assert make(path, passages(100)) == (1 if kind.startswith("vectors") else 0)
    assert len(PassageIndex.load(FakeEmbedder(), path)) == 100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda plain: plain.pop("dimension"), "has an incomplete manifest.json"),
        (lambda plain: plain["shards"][0].pop("vectors"), "has an incomplete manifest.json"),
        (lambda plain: plain.update(shards=3), "has an incomplete manifest.json"),
        (
            lambda plain: plain["shards"][0].update(vectors="../../secret.npy"),
            "names files in manifest.json that are not its own",
        ),
        (lambda plain: plain["shards"][0].update(count=1), "another number of vectors"),
        (lambda plain: plain.update(dimension=9), "another number of vectors"),
        (lambda plain: plain.update(version=3), "has format version 3; expected 2 or older"),
        (lambda plain: plain.update(shards=None), "is not finished; expected all of its shards"),
        (lambda plain: plain.update(format="x"), "is not an index"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(
    path: Path, change: Callable[[dict[str, object]], None], expected: str
) -> None:
    file = path / "manifest.json"
    plain = json.loads(file.read_text())
    change(plain)
    file.write_text(json.dumps(plain))
    with pytest.raises(PassageIndexError, match=expected):
        list(EmbeddedCorpus.open(path).batches())


def test_any_other_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    for name in ("text.txt", "."):
        with pytest.raises(PassageIndexError, match="is not an index; expected a folder"):
            EmbeddedCorpus.open(tmp_path / name)
    with pytest.raises(PassageIndexError, match="There is no index at"):
        EmbeddedCorpus.open(tmp_path / "missing")


# --- the model ---


def test_the_batch_changes_how_many_forwards_there_are_and_no_vector(
    make_network: MakeNetwork,
) -> None:
    network = make_network("llama")
    config = CheckpointConfig(max_passage_tokens=64)
    model = OneGenModel(Checkpoint(network, make_tokenizer(), config, ""))
    forwards: list[None] = []
    network.base_model.register_forward_hook(lambda *_: forwards.append(None))
    some = [Passage(str(n), "word " * (1 + n % 5)) for n in range(20)]
    one_by_one = model.embed_passages(some, batch=1)
    assert len(forwards) == 20
    forwards.clear()
    together = model.embed_passages(some, batch=100_000)
    assert len(forwards) == 1
    assert np.abs(one_by_one - together).max() < 1e-6
    assert np.array_equal(
        model.embed_passages(some),
        embed_ids(network, [model.renderer.embed_ids(passage) for passage in some]),
    )
