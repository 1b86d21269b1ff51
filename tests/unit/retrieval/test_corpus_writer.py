"""An embedded corpus while it is written: continued, changed, repaired, never mixed."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onegen_model import EmbeddedCorpus, Passage, PassageIndex
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.files import hold_folder
from onegen_model.retrieval import corpus_writer
from onegen_model.retrieval.corpus_writer import begin, finish, withdraw_broken
from onegen_model.retrieval.manifest import Manifest, read_manifest
from onegen_model.retrieval.shards import Shard, cut, find_present, write_passages, write_vectors
from tests.support.embedded_corpora import MADE, embed, make, only, passages
from tests.support.fake_embedder import FakeEmbedder, unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    assert make(tmp_path / "corpus", passages(100)) > 2
    return tmp_path / "corpus"


def test_continuing_embeds_missing_shards(tmp_path: Path) -> None:
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


def test_a_corpus_is_unfinished_while_it_is_repaired(path: Path) -> None:
    only(list(path.glob("vectors-*"))).unlink()
    withdraw_broken(path)
    with pytest.raises(PassageIndexError, match="is not finished; expected all of its shards"):
        EmbeddedCorpus.open(path)
    assert make(path, passages(100)) == 1
    assert len(EmbeddedCorpus.open(path)) == 100


def test_a_corpus_that_another_process_finishes_meanwhile_stays_finished(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_elsewhere() -> None:
        with suppress(TimeoutError), hold_folder(path):
            make(path, passages(100, first=5))

    def read_and_finish(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        monkeypatch.undo()
        thread = threading.Thread(target=finish_elsewhere)
        thread.start()
        thread.join()
        return manifest

    monkeypatch.setattr(corpus_writer, "read_manifest", read_and_finish)
    withdraw_broken(path)
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
    ("field", "value", "difference"),
    [
        ("fingerprint", "0" * 64, "fingerprint ffffffffffff, not 000000000000"),
        ("dtype", "bfloat16", "dtype float32, not bfloat16"),
        ("stored_as", "float16", "stored_as float32, not float16"),
        ("shard_size", 30, "shard_size 20, not 30"),
    ],
)
def test_vectors_are_never_mixed(path: Path, field: str, value: str, difference: str) -> None:
    with pytest.raises(
        PassageIndexError, match=rf"{difference}\); expected the same .*another --out"
    ):
        begin(path, replace(MADE, **{field: value}))
    assert len(EmbeddedCorpus.open(path)) == 100


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_vectors_that_no_manifest_describes_are_not_taken_for_ours(
    path: Path, content: str | None
) -> None:
    (path / "manifest.json").unlink()
    if content is not None:
        (path / "manifest.json").write_text(content)
    with pytest.raises(PassageIndexError, match="holds vectors without a readable manifest"):
        begin(path, replace(MADE, fingerprint="0" * 64))
    assert len(list(path.glob("vectors-*"))) > 2


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    PassageIndex.build(FakeEmbedder(), passages(2)).save(tmp_path / "my.index")
    (tmp_path / "text.txt").write_text("text")
    for name in ("text.txt", "."):
        with pytest.raises(PassageIndexError, match="is not an index; expected a new or"):
            begin(tmp_path / name, MADE)
    with pytest.raises(PassageIndexError, match=r"is an index that .* run `onegen index`"):
        begin(tmp_path / "my.index", MADE)
    assert len(PassageIndex.load(FakeEmbedder(), tmp_path / "my.index")) == 2


def test_of_processes_that_finish_together_one_reports_it(path: Path) -> None:
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


def test_two_files_of_vectors_for_one_content_leave_one(path: Path) -> None:
    shard: Shard = cut(passages(100), 20)[0]
    write_vectors(path, shard, np.roll(embed(shard.passages), 1, axis=0))
    assert make(path, passages(100)) == 0
    assert len(list(path.glob(f"vectors-{shard.content}-*"))) == 1
