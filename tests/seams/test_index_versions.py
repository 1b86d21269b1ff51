"""Folders of every version, for everything that reads one."""

import json
from pathlib import Path

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, Passage, PassageIndex
from onegen_model.errors import PassageIndexError
from tests.support.embedded_corpora import embed, make
from tests.support.embedded_corpora import passages as corpus_passages
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import ids, passages, query, write_version_1

MANY = Passage("many", "two fragments")
VECTORS = np.stack([unit(p.title + p.text) for p in passages(9)] + [unit("a"), unit("b")])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write_version_1(tmp_path / "old.index", [*passages(9), MANY], VECTORS)
    return tmp_path / "old.index"


def test_an_index_of_version_1_is_read_without_embedding(old: Path) -> None:
    embedder = FakeEmbedder()
    index = PassageIndex.load(embedder, old)
    assert index.passages == (*passages(9), MANY)
    assert [ids(found) for found in index.search(VECTORS[-2:], 1)] == [["many"], ["many"]]
    corpus = EmbeddedCorpus.open(old, fingerprint="f" * 64)
    assert (len(corpus), corpus.dimension) == (10, 8)
    assert np.array_equal(np.concatenate([rows for _, rows in corpus.batches()]), VECTORS)
    assert embedder.embedded == []


def test_an_index_of_version_1_is_saved_as_version_2_and_nothing_of_it_stays(old: Path) -> None:
    index = PassageIndex.load(FakeEmbedder(), old)
    index.add(passages(12))
    index.save(old)
    assert json.loads((old / "manifest.json").read_text())["version"] == 2
    assert len([file for file in old.iterdir() if not file.name.startswith(".")]) == 3
    again = PassageIndex.load(FakeEmbedder(), old)
    assert len(again) == 13
    assert again.search(VECTORS, 3) == index.search(VECTORS, 3)


@pytest.mark.parametrize("pattern", ["vectors-*", "passages-*"])
def test_a_damaged_index_of_version_1_is_refused(old: Path, pattern: str) -> None:
    [file] = old.glob(pattern)
    content = file.read_bytes()
    for damaged in (content[:-1], content[:-2] + b"xx"):
        file.write_bytes(damaged)
        with pytest.raises(PassageIndexError, match=f"holds {file.name} damaged"):
            PassageIndex.load(FakeEmbedder(), old)


@pytest.mark.parametrize("files", [{}, {"../a": {"sha256": ""}, "b": {"sha256": ""}}, [1, 2]])
def test_a_manifest_of_version_1_that_was_tampered_with_is_refused(
    old: Path, files: object
) -> None:
    plain = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps(plain | {"files": files}))
    with pytest.raises(PassageIndexError, match=r"incomplete manifest|not its own"):
        PassageIndex.load(FakeEmbedder(), old)


def test_a_corpus_of_version_1_is_read_and_continued(tmp_path: Path) -> None:
    corpus = corpus_passages(100)
    make(tmp_path / "emb", corpus)
    file = tmp_path / "emb" / "manifest.json"
    plain = json.loads(file.read_text()) | {"version": 1}
    file.write_text(json.dumps(plain))
    rows = np.concatenate([rows for _, rows in EmbeddedCorpus.open(tmp_path / "emb").batches()])
    assert np.array_equal(rows, embed(corpus))
    assert make(tmp_path / "emb", corpus) == 0
    file.write_text(json.dumps(plain | {"shards": []}))
    with pytest.raises(PassageIndexError, match="is not finished"):
        EmbeddedCorpus.open(tmp_path / "emb")
    assert make(tmp_path / "emb", corpus) == 0
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path / "emb")) == 100


def test_a_saved_index_is_a_corpus_for_other_indexes(tmp_path: Path) -> None:
    index = PassageIndex.build(FakeEmbedder(), passages(9))
    index.add_embedded([MANY, MANY], VECTORS[-2:])
    index.save(tmp_path / "my.index")
    corpus = EmbeddedCorpus.open(tmp_path / "my.index")
    assert len(corpus) == len(index) == 10
    for size in (1, 4, 1000):
        one, other = list(corpus.batches(size)), list(index.batches(size))
        assert [some for some, _ in one] == [some for some, _ in other]
        assert [some for some, _ in one][-1][-2:] == [MANY, MANY], "one batch has both vectors"
        for batches in (one, other):
            assert np.array_equal(np.concatenate([rows for _, rows in batches]), VECTORS)
            copy = PassageIndex(FakeEmbedder())
            for some, rows in batches:
                copy.add_embedded(some, rows)
            assert copy.search(VECTORS, 10) == index.search(VECTORS, 10)


def test_a_large_index_is_several_shards_and_a_save_writes_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "my.index"
    index = PassageIndex.build(FakeEmbedder(), passages(9000))
    index.save(path)
    before = set(path.glob("vectors-*"))
    assert len(before) > 2
    index.add([Passage("new", "text")])
    index.save(path)
    after = set(path.glob("vectors-*"))
    assert len(after - before) == len(before - after) == 1
    assert PassageIndex.load(FakeEmbedder(), path).passages == index.passages


def test_vectors_stay_in_half_precision_where_they_were(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.support.embedded_corpora import MADE

    make(tmp_path / "emb", corpus_passages(50), made=replace(MADE, stored_as="float16"))
    index = PassageIndex.load(FakeEmbedder(), tmp_path / "emb")
    index.add(passages(3))
    index.save(tmp_path / "emb")
    assert {np.load(file).dtype for file in (tmp_path / "emb").glob("*.npy")} == {
        np.dtype(np.float16)
    }
    again = PassageIndex.load(FakeEmbedder(), tmp_path / "emb")
    assert ids(again.retrieve([query("title 1text 1", 1)])[0]) == ["1"]


def test_an_index_does_not_replace_a_corpus_that_it_was_not_loaded_from(tmp_path: Path) -> None:
    make(tmp_path / "emb", corpus_passages(50))
    index = PassageIndex.build(FakeEmbedder(), passages(3))
    with pytest.raises(PassageIndexError, match="is an embedded corpus that this index was not"):
        index.save(tmp_path / "emb")
    assert len(EmbeddedCorpus.open(tmp_path / "emb")) == 50
