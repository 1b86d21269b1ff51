"""The benchmark of indexing on small folders."""

from pathlib import Path

import pytest

from benchmarks.indexing.fake import ConstantTimeEmbedder
from benchmarks.indexing.folders import fill, fill_small, sentences
from benchmarks.indexing.measuring import Job, run_apart
from benchmarks.indexing.stress import Plan, compare, run_stress
from onegen_model import Passage, PassageIndex


def test_a_folder_has_the_size_asked_for_and_no_text_twice(tmp_path: Path) -> None:
    files = fill(tmp_path, 120_000)
    assert 120_000 <= sum(path.stat().st_size for path in files) < 130_000
    assert len(files) == 3
    paragraphs = [text for path in files for text in path.read_text("utf-8").split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert all(one in " ".join(paragraphs) for one in sentences())


def test_small_files_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (fill_small(tmp_path / name, 3) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_lost_and_stale_passages_are_counted(tmp_path: Path) -> None:
    documents, out = tmp_path / "documents", tmp_path / "out.index"
    fill_small(documents, 2)
    index = PassageIndex.build(ConstantTimeEmbedder(), [Passage("gone.md#0", "An old text.")])
    index.save(out)
    counts = compare(documents, out, tmp_path / "alone.index")
    assert counts == {"passages": counts["lost"], "lost": counts["lost"], "stale": 1}
    assert counts["lost"] > 1


@pytest.mark.slow
def test_a_second_run_embeds_what_has_changed(tmp_path: Path) -> None:
    files = fill_small(tmp_path / "documents", 5)
    job = Job(tmp_path / "documents", tmp_path / "out.index", "words")
    first = run_apart(job)
    assert first["embedded"] == first["passages"] > 5
    assert first["files_opened"] == first["files_read"] == 5
    assert first["peak_mib"] >= first["mib_before"] > 1
    files[2].write_text(f"{files[2].read_text('utf-8')}\nThis is new.\n", encoding="utf-8")
    second = run_apart(job)
    assert 1 <= second["embedded"] <= 2
    assert second["files_read"] == 1


@pytest.mark.slow
def test_writers_a_killed_one_and_a_reader_lose_nothing(tmp_path: Path) -> None:
    counts = run_stress(tmp_path, Plan(files=4, rounds=2, kills=1))
    assert counts["passages"] > 12
    assert counts["loads"] > 0
    assert [counts[name] for name in ("lost", "stale", "wrong", "failed_processes")] == [0] * 4
