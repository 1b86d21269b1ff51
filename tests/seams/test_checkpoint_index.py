"""An index belongs to a model, and still does after the model was saved in another form."""

import json
from pathlib import Path

import pytest

from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.checkpoint.config import Base, CheckpointConfig
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.finetune.run.trainable import AdapterSettings, add_adapter, save_trained
from onegen_model.transcript.tokens import ControlTokens
from tests.conftest import MakeNetwork, make_tokenizer

PASSAGES = [Passage("a", "Alba is a town by the river."), Passage("b", "Ada kept a mill.")]


@pytest.fixture
def adapter(make_network: MakeNetwork, tmp_path: Path) -> Path:
    base, folder = tmp_path / "base", tmp_path / "adapter"
    network, tokenizer = make_network("llama").float(), make_tokenizer()
    network.save_pretrained(base)
    tokenizer.save_pretrained(base)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ControlTokens()]
    folder.mkdir()
    adapted = add_adapter(network, ids, AdapterSettings(4, 8, 0))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.05)
    save_trained(adapted, folder)
    CheckpointConfig(base=Base(str(base), weights_sha256(base))).write(folder)
    return folder


def test_an_index_of_an_adapter_is_read_by_the_model_that_was_saved_from_it(
    adapter: Path, tmp_path: Path
) -> None:
    model = OneGenModel.from_pretrained(adapter)
    PassageIndex.build(model, PASSAGES).save(tmp_path / "index")
    model.save_pretrained(tmp_path / "merged")
    merged = OneGenModel.from_pretrained(tmp_path / "merged")
    assert merged.fingerprint == model.fingerprint
    index = PassageIndex.load(merged, tmp_path / "index")
    assert index.search(merged.embed_passages(PASSAGES[:1]), top_k=1)[0][0].passage.id == "a"
    merged.save_pretrained(tmp_path / "again")
    assert OneGenModel.from_pretrained(tmp_path / "again").fingerprint == model.fingerprint
    half = OneGenModel.from_pretrained(tmp_path / "merged", dtype="bfloat16")
    assert half.fingerprint == model.fingerprint


def test_a_merged_model_is_not_saved_over_its_adapter_which_would_be_applied_twice(
    adapter: Path,
) -> None:
    model = OneGenModel.from_pretrained(adapter)
    with pytest.raises(InvalidInputError, match="holds an adapter; expected another folder"):
        model.save_pretrained(adapter)
    assert OneGenModel.from_pretrained(adapter).fingerprint == model.fingerprint


def change_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(bytes(whole))


def change_config(folder: Path) -> None:
    change_json(folder / "config.json", rms_norm_eps=0.1)


def change_end(folder: Path) -> None:
    change_json(folder / "generation_config.json", eos_token_id=[1, 2])


def change_template(folder: Path) -> None:
    change_json(folder / "onegen.json", max_passage_tokens=77)


def change_chat_template(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text(encoding="utf-8") + " ", encoding="utf-8")


def change_json(file: Path, **changes: object) -> None:
    plain = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(plain | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "change", [change_weights, change_config, change_end, change_template, change_chat_template]
)
def test_a_saved_folder_whose_files_were_changed_is_another_model(
    adapter: Path, tmp_path: Path, change: object
) -> None:
    model = OneGenModel.from_pretrained(adapter)
    PassageIndex.build(model, PASSAGES).save(tmp_path / "index")
    model.save_pretrained(tmp_path / "merged")
    change(tmp_path / "merged")
    changed = OneGenModel.from_pretrained(tmp_path / "merged")
    assert changed.fingerprint != model.fingerprint
    with pytest.raises(PassageIndexError):
        PassageIndex.load(changed, tmp_path / "index")
