"""Shards on disk, and an embedded corpus as its readers see it."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, OneGenModel, Passage, PassageIndex
from onegen_model.checkpoint import Checkpoint, CheckpointConfig
from onegen_model.embedded import Making, Manifest
from onegen_model.embedded_shards import (
    Shard,
    begin,
    cut,
    find_missing,
    find_present,
    finish,
    require_same_corpus,
    withdraw_broken,
    write_passages,
    write_vectors,
)
from onegen_model.embedding import embed_ids
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.conftest import MakeNetwork, make_tokenizer
from tests.fake_embedder import FakeEmbedder, unit

MADE = Making("f" * 64, 8, 40, "float32", "float32", 20)


def passages(count: int, first: int = 0) -> list[Passage]:
    return [
        Passage(f"p{n}", f"text {n} é", f"title {n}", {"n": n, "half": "½"})
        for n in range(first, first + count)
    ]


def embed(some: Sequence[Passage]) -> np.ndarray:
    return np.array([unit(passage.title + passage.text) for passage in some])


def make(path: Path, corpus: Sequence[Passage], *, made: Making = MADE) -> int:
    """What `onegen embed` does, in short; returns how many shards were embedded."""
    begin(path, made)
    shards = cut(corpus, made.shard_size)
    require_same_corpus(path, shards)
    missing = find_missing(path, shards)
    withdraw_broken(path)
    write_passages(path, shards)
    for shard in missing:
        write_vectors(path, shard, embed(shard.passages).astype(made.stored_as))
    finish(path, Manifest(made, find_present(path, shards)))
    return len(missing)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    assert make(tmp_path / "corpus", passages(100)) > 2
    return tmp_path / "corpus"


def only(files: Sequence[Path]) -> Path:
    return min(files)


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
        PassageIndexError, match=f"lacks {file.name}, or holds it damaged; expected"
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
        (lambda plain: plain.update(version=2), "has format version 2; expected 1"),
        (lambda plain: plain.update(shards=[]), "is not finished; expected all of its shards"),
        (lambda plain: plain.update(format="x"), "is not an embedded corpus"),
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


def test_what_is_no_embedded_corpus_is_refused(tmp_path: Path) -> None:
    PassageIndex.build(FakeEmbedder(), passages(2)).save(tmp_path / "my.index")
    (tmp_path / "text.txt").write_text("text")
    for name in ("missing", "my.index", "text.txt", "."):
        with pytest.raises(PassageIndexError, match="is not an embedded corpus; expected a folder"):
            EmbeddedCorpus.open(tmp_path / name)


# --- writing ---


def test_going_on_embeds_what_is_missing(tmp_path: Path) -> None:
    shards = cut(passages(100), 20)
    begin(tmp_path, MADE)
    write_passages(tmp_path, shards)
    write_vectors(tmp_path, shards[1], embed(shards[1].passages))
    with pytest.raises(PassageIndexError, match="is not finished"):
        EmbeddedCorpus.open(tmp_path)
    assert make(tmp_path, passages(100)) == len(shards) - 1
    assert len(EmbeddedCorpus.open(tmp_path)) == 100


def test_a_changed_corpus_keeps_its_other_shards_and_drops_the_stale_one(path: Path) -> None:
    before = {file.name for file in path.iterdir()}
    changed = [*passages(99), Passage("p99", "another text")]
    assert make(path, changed) == 1
    stale = before - {file.name for file in path.iterdir()}
    assert {name.split("-")[0] for name in stale} == {"vectors", "passages"}
    assert len(stale) == 2
    (*_, (some, rows)) = EmbeddedCorpus.open(path).batches()
    assert some[-1] == changed[-1]
    assert np.array_equal(rows[-1], unit("another text"))
    assert make(path, changed[:50]) == 1
    assert len(EmbeddedCorpus.open(path)) == 50


def test_other_ids_and_metadata_embed_nothing(path: Path) -> None:
    renamed = [replace(passage, id=f"x{passage.id}", metadata={}) for passage in passages(100)]
    assert make(path, renamed) == 0
    assert [p for some, _ in EmbeddedCorpus.open(path).batches() for p in some] == renamed


def test_the_old_corpus_is_whole_until_the_new_one_is(path: Path) -> None:
    shards = cut([*passages(99), Passage("p99", "another text")], 20)
    write_passages(path, shards)
    write_vectors(path, shards[-1], embed(shards[-1].passages))
    assert [p for some, _ in EmbeddedCorpus.open(path).batches() for p in some] == passages(100)


def test_a_corpus_that_is_mended_is_not_finished_meanwhile(path: Path) -> None:
    only(list(path.glob("vectors-*"))).unlink()
    withdraw_broken(path)
    with pytest.raises(PassageIndexError, match="is not finished; expected all of its shards"):
        EmbeddedCorpus.open(path)
    assert make(path, passages(100)) == 1
    assert len(EmbeddedCorpus.open(path)) == 100


def test_another_corpus_does_not_replace_this_one(path: Path) -> None:
    other = passages(100, first=100)
    with pytest.raises(
        InvalidInputError, match=r"holds another corpus.*choose another --out, or delete the folder"
    ):
        make(path, other)
    assert len(EmbeddedCorpus.open(path)) == 100
    one_passage_is_known = [Passage("p3", "changed"), *other]
    assert make(path, one_passage_is_known) > 2


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("fingerprint", "0" * 64, "fingerprint ffffffffffff, not 000000000000"),
        ("dtype", "bfloat16", "dtype float32, not bfloat16"),
        ("stored_as", "float16", "stored_as float32, not float16"),
        ("shard_size", 30, "shard_size 20, not 30"),
    ],
)
def test_vectors_are_never_mixed(path: Path, field: str, value: str, told: str) -> None:
    with pytest.raises(PassageIndexError, match=rf"{told}\); expected the same .*another --out"):
        begin(path, replace(MADE, **{field: value}))
    assert len(EmbeddedCorpus.open(path)) == 100


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    PassageIndex.build(FakeEmbedder(), passages(2)).save(tmp_path / "my.index")
    (tmp_path / "text.txt").write_text("text")
    for name in ("my.index", "text.txt", "."):
        with pytest.raises(PassageIndexError, match="is not an embedded corpus; expected a new or"):
            begin(tmp_path / name, MADE)
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path / "my.index")) == 2


def test_of_those_who_finish_together_one_is_told_so(path: Path) -> None:
    manifest = Manifest(MADE, find_present(path, cut(passages(100), 20)))
    assert not finish(path, manifest)
    (path / "manifest.json").write_bytes(Manifest(MADE).to_json())
    assert [finish(path, manifest) for _ in range(3)] == [True, False, False]


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(path: Path) -> None:
    old, young = (path / f".{digit * 32}.staged" for digit in "ab")
    for file in (old, young):
        file.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    (path / "notes.txt").write_text("mine")
    make(path, passages(100))
    assert (old.exists(), young.exists(), (path / "notes.txt").exists()) == (False, True, True)


def test_two_files_for_one_content_are_no_harm(path: Path) -> None:
    shard: Shard = cut(passages(100), 20)[0]
    write_vectors(path, shard, np.roll(embed(shard.passages), 1, axis=0))
    assert make(path, passages(100)) == 0
    assert len(list(path.glob(f"vectors-{shard.content}-*"))) == 1


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
