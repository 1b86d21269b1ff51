"""A model and where it came from: unloading, pickling, devices, quantisation."""

import copy
import gc
import importlib.util
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onegen_model import OneGenModel, Passage, SamplingParams
from onegen_model.checkpoint import loading
from onegen_model.checkpoint.config import Base, CheckpointConfig
from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError, MissingExtraError, OneGenError
from onegen_model.finetune.run.trainable import AdapterSettings, add_adapter, save_trained
from onegen_model.transcript.tokens import ControlTokens
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.integrations_models import save_model

PASSAGES = [Passage("a", "Alba is a town by the river.")]
SHORT = SamplingParams(max_new_tokens=8)


@pytest.fixture(scope="module")
def folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(make_network, tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def adapter(make_network: MakeNetwork, tmp_path: Path) -> Path:
    base, folder = tmp_path / "base", tmp_path / "adapter"
    network, tokenizer = make_network("llama").float(), make_tokenizer()
    network.save_pretrained(base)
    tokenizer.save_pretrained(base)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ControlTokens()]
    folder.mkdir()
    save_trained(add_adapter(network, ids, AdapterSettings(4, 8, 0)), folder)
    CheckpointConfig(base=Base(str(base), weights_sha256(base))).write(folder)
    return folder


def in_memory(make_network: MakeNetwork) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(make_network("llama"), make_tokenizer(), config, "tiny"))


def test_an_unloaded_model_has_freed_its_weights_and_every_use_is_one_clear_error(
    folder: Path,
) -> None:
    model = OneGenModel.from_pretrained(folder)
    model.generate("Who?", sampling=SHORT)
    weights = list(model.network.parameters())
    running = model.stream("Who?", sampling=SHORT)
    next(running)
    model.unload()
    model.unload()
    assert sum(weight.numel() for weight in weights) == 0
    for use in (
        lambda: model.generate("Who?"),
        lambda: model.embed_queries(["Who?"]),
        lambda: model.embed_passages(PASSAGES),
        lambda: model.stream("Who?"),
        lambda: model.save_pretrained(folder),
        lambda: model.dimension,
        lambda: model.max_context,
        lambda: list(running),
    ):
        with pytest.raises(OneGenError, match="was unloaded; expected a loaded one; load it again"):
            use()
    assert model.template
    assert OneGenModel.from_pretrained(folder).generate("Who?", sampling=SHORT).written


def test_an_unloaded_model_has_freed_its_engine_with_the_cache(folder: Path) -> None:
    model = OneGenModel.from_pretrained(folder)
    model.generate("Who?", sampling=SHORT)
    engine = weakref.ref(model.engine)
    model.unload()
    gc.collect()
    assert engine() is None


def test_unloading_lets_go_of_a_network_of_others_and_leaves_it_whole(
    make_network: MakeNetwork,
) -> None:
    model = in_memory(make_network)
    network = model.network
    model.unload()
    with pytest.raises(OneGenError, match="was unloaded"):
        model.embed_queries(["Who?"])
    assert min(weight.numel() for weight in network.parameters()) > 0
    left = weakref.ref(network)
    del network
    gc.collect()
    assert left() is None


def test_a_model_loaded_by_name_is_pickled_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder.parent)
    model = OneGenModel.from_pretrained(folder.name, dtype="bfloat16", device_map="cpu")
    packed = pickle.dumps(model)
    assert len(packed) < 500
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(packed)
    assert (again.fingerprint, again.network.dtype) == (model.fingerprint, model.network.dtype)
    assert np.array_equal(again.embed_queries(["Who?"]), model.embed_queries(["Who?"]))


def test_a_model_put_together_in_memory_is_not_pickled(make_network: MakeNetwork) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be pickled.*pass its name"):
        pickle.dumps(in_memory(make_network))


def test_copies_of_a_model_are_the_model(make_network: MakeNetwork) -> None:
    model = in_memory(make_network)
    assert copy.copy(model) is model
    assert copy.deepcopy({"model": model})["model"] is model


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, "auto"])
def test_a_device_map_places_whole_weights_and_merged_adapters(
    folder: Path, adapter: Path, device_map: Any
) -> None:
    for source in (folder, adapter):
        plain = OneGenModel.from_pretrained(source, device="cpu", dtype="bfloat16")
        mapped = OneGenModel.from_pretrained(source, device_map=device_map, dtype="bfloat16")
        assert mapped.fingerprint == plain.fingerprint
        assert np.array_equal(mapped.embed_passages(PASSAGES), plain.embed_passages(PASSAGES))
        asked = [one.generate("Who?", sampling=SHORT).ids for one in (plain, mapped)]
        assert asked[0] == asked[1]


def test_rotary_frequencies_are_not_rounded_to_half_precision(folder: Path) -> None:
    networks = [
        OneGenModel.from_pretrained(folder, dtype=x).network for x in ("float32", "float16")
    ]
    exact, half = (
        dict(network.named_buffers())["model.rotary_emb.inv_freq"] for network in networks
    )
    assert exact.tolist() == half.tolist()


def test_modules_offloaded_to_disk_compute_the_same(
    folder: Path, adapter: Path, tmp_path: Path
) -> None:
    device_map = {
        **dict.fromkeys(("model.embed_tokens", "model.layers.0", "model.norm"), "cpu"),
        **dict.fromkeys(("model.rotary_emb", "lm_head"), "cpu"),
        "model.layers.1": "disk",
    }
    for source in (folder, adapter):
        further = {"offload_folder": str(tmp_path / source.name)}
        plain = OneGenModel.from_pretrained(source)
        mapped = OneGenModel.from_pretrained(source, device_map=device_map, model_kwargs=further)
        assert mapped.fingerprint == plain.fingerprint
        assert np.allclose(
            mapped.embed_passages(PASSAGES), plain.embed_passages(PASSAGES), atol=1e-6
        )
        asked = [one.generate("Who?", sampling=SHORT).ids for one in (plain, mapped)]
        assert asked[0] == asked[1]


def test_a_map_over_several_gpus_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = loading.load_weights

    def spread(*arguments: Any, **options: Any) -> Any:
        network, tokenizer = load(*arguments, **options)
        network.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1, "lm_head": "cpu"}
        return network, tokenizer

    monkeypatch.setattr(loading, "load_weights", spread)
    with pytest.raises(OneGenError, match="spreads the network over 0, 1; expected one device"):
        OneGenModel.from_pretrained(folder)


def test_further_arguments_reach_transformers_and_those_that_change_vectors_the_fingerprint(
    folder: Path,
) -> None:
    plain = OneGenModel.from_pretrained(folder)
    eager = OneGenModel.from_pretrained(folder, model_kwargs={"attn_implementation": "eager"})
    assert eager.network.config._attn_implementation == "eager"
    assert eager.fingerprint == plain.fingerprint
    other = OneGenModel.from_pretrained(folder, model_kwargs={"rms_norm_eps": 0.5})
    assert other.network.config.rms_norm_eps == 0.5
    assert other.fingerprint != plain.fingerprint


@pytest.mark.parametrize("name", ["trust_remote_code", "dtype", "device_map", "state_dict"])
def test_further_arguments_never_replace_ours(folder: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"model_kwargs has '{name}'; expected"):
        OneGenModel.from_pretrained(folder, model_kwargs={name: True})


def test_arguments_that_contradict_each_other_are_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected one of them; leave out device"):
        OneGenModel.from_pretrained(folder, device="cpu", device_map="auto")
    with pytest.raises(InvalidInputError, match="quantization='2bit'; expected"):
        OneGenModel.from_pretrained(folder, quantization="2bit")
    with pytest.raises(InvalidInputError, match="model_kwargs is of type list"):
        OneGenModel.from_pretrained(folder, model_kwargs=["x"])
    with pytest.raises(TypeError, match="quantisation"):
        OneGenModel.from_pretrained(folder, quantisation="4bit")


@pytest.mark.parametrize(
    ("quantization", "package"), [("8bit", "torchao"), ("4bit", "bitsandbytes")]
)
def test_quantised_loading_without_its_package_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, quantization: Any, package: str
) -> None:
    found = importlib.util.find_spec
    absent = ("bitsandbytes", "torchao")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in absent else found(name)
    )
    with pytest.raises(MissingExtraError, match=f"needs the package {package}.*pip install"):
        OneGenModel.from_pretrained(folder, quantization=quantization)


@pytest.mark.parametrize(
    ("quantization", "package", "likeness"),
    [("8bit", "torchao", 0.99), ("4bit", "bitsandbytes", 0.8)],
)
def test_a_quantised_model_has_its_own_fingerprint_and_is_not_saved(
    make_network: MakeNetwork, tmp_path: Path, quantization: Any, package: str, likeness: float
) -> None:
    pytest.importorskip(package)
    # bitsandbytes quantises in blocks of 64.
    folder = save_model(make_network, tmp_path / "whole", intermediate_size=128)
    plain = OneGenModel.from_pretrained(folder)
    model = OneGenModel.from_pretrained(folder, quantization=quantization, device="cpu")
    assert model.fingerprint != plain.fingerprint
    product = model.embed_passages(PASSAGES) @ plain.embed_passages(PASSAGES).T
    assert likeness < product[0, 0] < 0.99999
    assert model.generate("Who?", sampling=SHORT).written
    with pytest.raises(InvalidInputError, match="quantised model cannot be saved"):
        model.save_pretrained(tmp_path / "quantised")


def test_an_adapter_is_never_merged_into_quantised_weights(adapter: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"before weights are quantised.*save_pretrained"):
        OneGenModel.from_pretrained(adapter, quantization="4bit")
    with pytest.raises(InvalidInputError, match="before weights are quantised"):
        OneGenModel.from_pretrained(quantization="8bit")
