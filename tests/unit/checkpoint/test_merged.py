"""The cache of merged weights: the same to the bit, and never in the way."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
import torch
from safetensors.torch import load_file, save_file

from onegen_model.checkpoint import merged, weights
from onegen_model.checkpoint.config import ADAPTER_FILE, Base, CheckpointConfig
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.errors import CheckpointError
from onegen_model.finetune.run.trainable import AdapterSettings, add_adapter, save_trained
from onegen_model.model import OneGenModel
from onegen_model.transcript.tokens import ControlTokens
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.fake_model import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONEGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ONEGEN_MERGED", raising=False)
    monkeypatch.setattr(merged, "_LEAST_BYTES", 0)
    return tmp_path / "cache" / "merged"


@pytest.fixture
def adapter(request: pytest.FixtureRequest, make_network: MakeNetwork, tmp_path: Path) -> Path:
    """An adapter that changes every layer and adds rows, over a base without control tokens."""
    base, folder = tmp_path / "base", tmp_path / "adapter"
    network, tokenizer = (
        make_network("llama", tied=getattr(request, "param", True)).float(),
        make_tokenizer(),
    )
    network.save_pretrained(base)
    tokenizer.save_pretrained(base)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ControlTokens()]
    folder.mkdir()
    save_trained(add_adapter(network, ids, AdapterSettings(4, 8, 0)), folder)
    change(folder)
    CheckpointConfig(base=Base(str(base), weights_sha256(base))).write(folder)
    return folder


def change(folder: Path, seed: int = 1) -> None:
    tensors = load_file(folder / ADAPTER_FILE)
    random = torch.Generator().manual_seed(seed)
    save_file(
        {name: torch.randn(one.shape, generator=random) * 0.1 for name, one in tensors.items()},
        folder / ADAPTER_FILE,
        metadata={"format": "pt"},
    )


def kept(cache: Path) -> list[Path]:
    return sorted(file.parent for file in cache.glob("*/merged.json"))


def refuse_to_merge(*_: object) -> None:
    raise AssertionError("merged again")


def assert_same(one: OneGenModel, other: OneGenModel) -> None:
    assert one.fingerprint == other.fingerprint
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].dtype == second[name].dtype
        assert torch.equal(first[name], second[name]), name
    buffers = dict(other.network.named_buffers())
    for name, buffer in one.network.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    questions = ["Who?", "When was the mill built?"]
    assert (one.embed_queries(questions) == other.embed_queries(questions)).all()
    assert one.token_ids("[RQ] café") == other.token_ids("[RQ] café")
    assert len(one.renderer.tokenizer) == len(other.renderer.tokenizer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", [True, False], ids=["tied", "untied"], indirect=True)
def test_cached_weights_are_the_merged_ones_to_the_bit(
    adapter: Path, cache: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEGEN_MERGED", "0")
    plain = OneGenModel.from_pretrained(adapter, dtype=dtype)
    assert not cache.exists()
    monkeypatch.delenv("ONEGEN_MERGED")
    first = OneGenModel.from_pretrained(adapter, dtype=dtype)
    assert len(kept(cache)) == 1
    monkeypatch.setattr(merged, "apply_adapter", refuse_to_merge)
    second = OneGenModel.from_pretrained(adapter, dtype=dtype)
    assert_same(plain, first)
    assert_same(plain, second)
    answer = [model.generate("Who?", retrieval="never").ids for model in (plain, second)]
    assert answer[0] == answer[1]


def test_a_cached_network_is_probed_once_for_all(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("cannot be read")

    monkeypatch.setattr("onegen_model.engine.probe._read_in_steps", refuse)
    OneGenModel.from_pretrained(adapter)
    assert kept(cache) == []  # what does not pass is not kept
    monkeypatch.undo()
    monkeypatch.setattr(merged, "_LEAST_BYTES", 0)
    monkeypatch.setenv("ONEGEN_CACHE", str(cache.parent))
    OneGenModel.from_pretrained(adapter)
    monkeypatch.setattr("onegen_model.engine.probe._read_in_steps", refuse)
    assert OneGenModel.from_pretrained(adapter).generate("Who?", retrieval="never").ids
    monkeypatch.setenv("ONEGEN_MERGED", "0")
    with pytest.raises(CheckpointError, match="cannot be read in pieces"):
        OneGenModel.from_pretrained(adapter).generate("Who?", retrieval="never")


def test_each_dtype_and_each_adapter_has_its_own_weights(adapter: Path, cache: Path) -> None:
    one = OneGenModel.from_pretrained(adapter)
    OneGenModel.from_pretrained(adapter, dtype="bfloat16")
    assert len(kept(cache)) == 2
    change(adapter, seed=2)
    other = OneGenModel.from_pretrained(adapter)
    assert len(kept(cache)) == 3
    assert one.fingerprint != other.fingerprint
    assert not torch.equal(one.network.lm_head.weight, other.network.lm_head.weight)


@pytest.mark.parametrize("damage", ["weights", "cut", "config", "manifest", "missing"])
def test_damaged_weights_are_made_again_with_a_warning(
    adapter: Path, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = OneGenModel.from_pretrained(adapter)
    [folder] = kept(cache)
    file = folder / "model.safetensors"
    if damage == "weights":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        os.utime(file, (1, 1))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "config":
        (folder / "config.json").write_text("{}")
    elif damage == "manifest":
        (folder / "merged.json").write_text("[1]")
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING, logger="onegen_model"):
        again = OneGenModel.from_pretrained(adapter)
    assert "is made again" in caplog.text
    assert_same(whole, again)
    caplog.clear()
    assert_same(whole, OneGenModel.from_pretrained(adapter))
    assert not caplog.records


def test_whole_weights_that_cannot_be_loaded_stay(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = OneGenModel.from_pretrained(adapter)
    [folder] = kept(cache)

    def fail(*_: object) -> None:
        raise CheckpointError("a package is missing")

    with monkeypatch.context() as patch:
        patch.setattr(merged, "load_network", fail)
        assert_same(whole, OneGenModel.from_pretrained(adapter))
    assert "cannot be loaded (a package is missing)" in caplog.text
    assert kept(cache) == [folder]
    caplog.clear()
    assert_same(whole, OneGenModel.from_pretrained(adapter))
    assert not caplog.records


def test_a_folder_that_cannot_be_written_changes_nothing(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OneGenModel.from_pretrained(adapter)
    monkeypatch.setenv("ONEGEN_CACHE", str(adapter / ADAPTER_FILE))  # a file, where root too fails
    assert_same(whole, OneGenModel.from_pretrained(adapter))


def test_a_full_disk_leaves_nothing_behind(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onegen_model.checkpoint.merged.sha256_of", full)
    OneGenModel.from_pretrained(adapter)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]


def test_weights_that_do_not_survive_saving_are_not_kept(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = weights.load_network

    def off_by_a_bit(*arguments: object) -> object:
        network = load(*arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            network.lm_head.weight[0, 0] += 1e-3
        return network

    monkeypatch.setattr(merged, "load_network", off_by_a_bit)
    OneGenModel.from_pretrained(adapter)
    assert kept(cache) == []


def test_small_networks_and_changed_ones_are_not_kept(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OneGenModel.from_pretrained(adapter, model_kwargs={"rms_norm_eps": 1e-3})
    assert kept(cache) == []
    monkeypatch.setattr(merged, "_LEAST_BYTES", 2**25)
    OneGenModel.from_pretrained(adapter)
    assert kept(cache) == []


def test_a_process_does_not_wait_for_another_that_writes(adapter: Path, cache: Path) -> None:
    whole = OneGenModel.from_pretrained(adapter)
    [folder] = kept(cache)
    folder.rename(cache / "away")
    with filelock.FileLock(folder.with_suffix(".lock")):
        assert_same(whole, OneGenModel.from_pretrained(adapter))
    assert not folder.exists()


def test_two_processes_at_once_keep_one(adapter: Path, cache: Path) -> None:
    code = (
        "import sys; from onegen_model.checkpoint import merged; merged._LEAST_BYTES = 0; "
        "from onegen_model.model import OneGenModel; "
        "print(OneGenModel.from_pretrained(sys.argv[1]).fingerprint)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(adapter)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    prints = {process.communicate(timeout=300)[0] for process in both}
    assert len(prints) == 1
    assert len(kept(cache)) == 1


def test_the_weights_that_were_not_used_for_longest_make_room(
    adapter: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OneGenModel.from_pretrained(adapter)
    [first] = kept(cache)
    OneGenModel.from_pretrained(adapter, dtype="bfloat16")
    [second] = set(kept(cache)) - {first}
    os.utime(first / "merged.json", (2e9, 2e9))
    used = sum(file.stat().st_size for folder in (first, second) for file in folder.iterdir())
    monkeypatch.setattr(merged, "_KEPT_BYTES", used)
    OneGenModel.from_pretrained(adapter, dtype="float16")
    assert second not in kept(cache)
    assert len(kept(cache)) == 2
    json.loads((first / "merged.json").read_text())
