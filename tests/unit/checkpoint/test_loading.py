"""Checkpoints on disk: what their fingerprint depends on, and what damage looks like."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model.checkpoint.config import Base, CheckpointConfig
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import CheckpointError
from onegen_model.finetune.run.trainable import AdapterSettings, add_adapter, save_trained
from onegen_model.model import OneGenModel
from onegen_model.transcript.tokens import ControlTokens
from tests.conftest import MakeNetwork, make_tokenizer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\nsize 269060552\n"
CONFIG = CheckpointConfig(max_passage_tokens=64)


@pytest.fixture
def whole(
    tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> Path:
    """A folder with whole weights."""
    folder = tmp_path / "whole"
    OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, CONFIG, "")).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(make_network: MakeNetwork, tmp_path: Path) -> Path:
    """A folder with an adapter over a base in the folder beside it."""
    base, folder = tmp_path / "base", tmp_path / "adapter"
    network, tokenizer = make_network("llama").float(), make_tokenizer()
    network.save_pretrained(base)
    tokenizer.save_pretrained(base)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ControlTokens()]
    folder.mkdir()
    save_trained(add_adapter(network, ids, AdapterSettings(4, 8, 0)), folder)
    CheckpointConfig(base=Base(str(base), weights_sha256(base))).write(folder)
    return folder


def fingerprint(folder: Path) -> str:
    return OneGenModel.from_pretrained(folder).fingerprint


def edit(file: Path, **changes: Any) -> None:
    plain = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(plain | changes), encoding="utf-8")


def rope(theta: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


def test_the_fingerprint_depends_on_what_changes_the_network(whole: Path) -> None:
    seen = [fingerprint(whole)]
    edit(whole / "config.json", **rope(100.0))
    seen.append(fingerprint(whole))
    edit(whole / "config.json", rms_norm_eps=0.1)
    seen.append(fingerprint(whole))
    edit(whole / "generation_config.json", eos_token_id=[1, 2])
    seen.append(fingerprint(whole))
    template = whole / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8").replace("\n", " "), encoding="utf-8")
    seen.append(fingerprint(whole))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_depends_on_the_scale_of_an_adapter_and_on_its_base(adapter: Path) -> None:
    seen = [fingerprint(adapter)]
    edit(adapter / "adapter_config.json", lora_alpha=64)
    seen.append(fingerprint(adapter))
    edit(adapter.parent / "base" / "config.json", **rope(100.0))
    seen.append(fingerprint(adapter))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_does_not_depend_on_dtype_versions_and_paths(
    whole: Path, adapter: Path
) -> None:
    before = [fingerprint(whole), fingerprint(adapter)]
    for folder in (whole, adapter.parent / "base"):
        edit(
            folder / "config.json",
            dtype="bfloat16",
            torch_dtype="float32",
            transformers_version="4.0",
            use_cache=False,
            _name_or_path="/mine",
        )
    edit(
        adapter / "adapter_config.json",
        base_model_name_or_path="/mine",
        peft_version="0.1",
        inference_mode=False,
    )
    moved = whole.rename(whole.parent / "moved")
    assert [fingerprint(moved), fingerprint(adapter)] == before


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "damaged or cut short: download"),
    "no header": (lambda whole: whole[:100], "damaged or cut short: download"),
    "empty": (lambda whole: b"", "damaged or cut short: download"),
    "git-lfs pointer": (lambda whole: POINTER, "git-lfs pointer .*`git lfs pull`"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_one_error(whole: Path, adapter: Path, damage: str) -> None:
    for file in (whole / "model.safetensors", adapter / "adapter_model.safetensors"):
        change, advice = DAMAGE[damage]
        file.write_bytes(change(file.read_bytes()))
        match = f"cannot be loaded .*expected .*; {file.name} .*{advice}"
        with pytest.raises(CheckpointError, match=match):
            OneGenModel.from_pretrained(file.parent)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_file_of_another_kind_is_one_error(whole: Path, name: str) -> None:
    (whole / name).write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        OneGenModel.from_pretrained(whole)


def test_a_config_of_another_size_is_one_error(whole: Path) -> None:
    edit(whole / "config.json", intermediate_size=100)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        OneGenModel.from_pretrained(whole)


def test_a_broken_adapter_config_is_one_error(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        OneGenModel.from_pretrained(adapter)
