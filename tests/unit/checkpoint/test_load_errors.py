"""A folder that cannot be loaded: nothing in it runs, and the advice follows the cause."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors as hub_errors
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config

from onegen_model import OneGenModel
from onegen_model.checkpoint import hub
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.load_errors import unloadable
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import CheckpointError, InvalidInputError


@pytest.fixture
def whole(
    tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> Path:
    folder = tmp_path / "whole"
    checkpoint = Checkpoint(tiny_network, tiny_tokenizer, CheckpointConfig(), "")
    OneGenModel(checkpoint).save_pretrained(folder)
    return folder


def edit(file: Path, **changes: Any) -> None:
    plain = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(plain | changes), encoding="utf-8")


class Closed:
    """A standard input that fails the test when it is read."""

    def readline(self, *_: object) -> str:
        raise AssertionError("asked on stdin")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("own", [True, False], ids=["onegen.json", "plain"])
def test_code_of_a_checkpoint_is_refused_without_a_question_and_never_run(
    whole: Path, monkeypatch: pytest.MonkeyPatch, name: str, own: bool
) -> None:
    if not own:
        (whole / "onegen.json").unlink()
    witness = whole / "ran"
    (whole / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n", encoding="utf-8")
    for kind in ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"):
        edit(whole / name, auto_map={kind: "evil.Evil"})
    edit(whole / "config.json", model_type="evil")
    monkeypatch.setattr(sys, "stdin", Closed())
    with pytest.raises(
        CheckpointError, match=r"wants to run its own code \(.*`auto_map`\)"
    ) as seen:
        OneGenModel.from_pretrained(whole)
    assert "git" not in str(seen.value)
    assert not witness.exists()


def test_an_unknown_architecture_is_not_reported_as_damage(whole: Path) -> None:
    edit(whole / "config.json", model_type="unheard_of")
    with pytest.raises(CheckpointError, match="does not know the architecture: update"):
        OneGenModel.from_pretrained(whole)


def test_an_encoder_decoder_is_refused_by_name(whole: Path) -> None:
    edit(whole / "config.json", **T5Config().to_dict())
    with pytest.raises(CheckpointError, match=r"T5Config.*it is no decoder that writes text"):
        OneGenModel.from_pretrained(whole)


def test_weights_of_another_size_are_not_reported_as_damage(whole: Path) -> None:
    edit(whole / "config.json", intermediate_size=100)
    with pytest.raises(CheckpointError, match="do not fit the configuration"):
        OneGenModel.from_pretrained(whole)


def test_missing_tensors_are_refused_and_not_initialised_at_random(whole: Path) -> None:
    edit(whole / "config.json", num_hidden_layers=3, layer_types=None)
    with pytest.raises(CheckpointError, match=r"lacks 9 tensors .*model\.layers\.2\."):
        OneGenModel.from_pretrained(whole)


def test_a_missing_file_is_not_reported_as_damage(whole: Path) -> None:
    (whole / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="a file is missing: download the whole"):
        OneGenModel.from_pretrained(whole)


def test_a_missing_package_is_named_for_pip(whole: Path) -> None:
    edit(whole / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(CheckpointError, match="run `pip install -U optimum`"):
        OneGenModel.from_pretrained(whole)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ImportError("requires the protobuf library"), "pip install -U protobuf`"),
        (ImportError("Found an incompatible version of torchao. Found 0.14"), "-U torchao`"),
        (ImportError("`pip install -U bitsandbytes>=0.46.1`"), "pip install -U bitsandbytes`"),
        (ModuleNotFoundError("No module", name="sentencepiece.x"), "pip install -U sentencepiece`"),
        (MemoryError(), "not enough memory: free some"),
        (RuntimeError("[enforce] DefaultCPUAllocator: not enough memory"), "not enough memory"),
        (ValueError(""), "no reason given"),
    ],
)
def test_the_advice_follows_the_cause(tmp_path: Path, error: Exception, advice: str) -> None:
    message = str(unloadable(tmp_path, error, "a model"))
    assert advice in message
    assert "git" not in message


def response() -> Any:
    import httpx

    return httpx.Response(404, request=httpx.Request("GET", "https://hub"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_errors.HFValidationError("bad"), "not a possible hub id.*check the path"),
        (hub_errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
        (hub_errors.LocalEntryNotFoundError("x"), "the hub cannot be reached"),
        (hub_errors.RepositoryNotFoundError("x", response=response()), "no such repository"),
        (hub_errors.RevisionNotFoundError("x", response=response()), "no such revision"),
        (hub_errors.GatedRepoError("x", response=response()), "terms to be accepted"),
        (OSError("disk full"), r"failed \(OSError: disk full\).*free disk"),
    ],
)
def test_the_advice_of_a_download_follows_its_cause(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=f"No model 'some/model'.*{message}"):
        OneGenModel.from_pretrained("some/model")


def test_a_revision_reaches_the_hub_and_weights_come_last(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        seen.append((name, revision, "*.safetensors" in allow_patterns))
        return str(whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.find_folder("some/model", "v1") == whole
    assert seen == [("some/model", "v1", False), ("some/model", "v1", True)]
    seen.clear()
    edit(whole / "config.json", auto_map={"AutoConfig": "x.X"})
    with pytest.raises(CheckpointError, match="auto_map"):
        OneGenModel.from_pretrained("some/model", revision="v1")
    assert seen == [("some/model", "v1", False)]


def test_a_revision_of_a_folder_is_refused(whole: Path) -> None:
    with pytest.raises(InvalidInputError, match="a folder has no revisions"):
        OneGenModel.from_pretrained(whole, revision="v1")
    with pytest.raises(InvalidInputError, match="belongs to the package"):
        OneGenModel.from_pretrained(revision="v1")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"template": [1]}, "has no attribute"),
        ({"template": {"tokens": {}, "system": 5}}, "system is 5, which is no text"),
        ({"template": {"tokens": {"query": 5}}}, "query is 5, which is no text"),
        ({"template": {"tokens": {}, "titled": "{name} {text}"}}, "KeyError: 'name'"),
        ({"template": {"tokens": {}, "embedded": "x"}}, "expected {passage} in it"),
        ({"max_passage_tokens": "128"}, "max_passage_tokens is '128'"),
        ({"max_passage_tokens": 0}, "max_passage_tokens is 0"),
        ({"base": {"source": 5, "sha256": ""}}, "base.source is 5"),
    ],
)
def test_a_value_of_a_wrong_kind_in_onegen_json_is_one_error(
    whole: Path, change: dict[str, Any], problem: str
) -> None:
    edit(whole / "onegen.json", **change)
    with pytest.raises(CheckpointError, match=f"onegen.json cannot be read .*{problem}"):
        OneGenModel.from_pretrained(whole)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_small_file_is_named(whole: Path, name: str) -> None:
    (whole / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing.*download the whole"):
        OneGenModel.from_pretrained(whole)


def test_a_reason_on_the_second_line_of_an_error_is_shown(tmp_path: Path) -> None:
    error = ValueError("Validation failed for 'heads':\n    49 is no multiple of 9\nmore")
    shown = str(unloadable(tmp_path, error, "a model"))
    assert "(ValueError: Validation failed for 'heads': 49 is no multiple of 9)" in shown


def test_a_broken_chat_template_is_an_error_of_the_checkpoint(whole: Path) -> None:
    (whole / "chat_template.jinja").write_text("{% if %}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="chat template of the tokenizer cannot render"):
        OneGenModel.from_pretrained(whole)


def test_a_model_is_not_saved_in_the_place_of_a_file(whole: Path) -> None:
    file = whole / "config.json"
    with pytest.raises(InvalidInputError, match="is a file; expected a folder"):
        OneGenModel.from_pretrained(whole).save_pretrained(file)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"device_map": "moon"}, "change device_map"),
        ({"device_map": {"": "moon"}}, "change device_map"),
        ({"model_kwargs": {"moon": 1}}, "take it out of model_kwargs"),
        (
            {"model_kwargs": {"attn_implementation": "moon"}},
            "change attn_implementation in model_kwargs",
        ),
    ],
)
def test_a_wrong_argument_of_loading_is_not_reported_as_damage(
    whole: Path, options: dict[str, Any], advice: str
) -> None:
    with pytest.raises(CheckpointError, match=advice):
        OneGenModel.from_pretrained(whole, **options)


@pytest.mark.parametrize("dtype", [None, 16, ["float32"]])
def test_a_dtype_that_is_no_name_is_refused(whole: Path, dtype: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected one of float32"):
        OneGenModel.from_pretrained(whole, dtype=dtype)


@pytest.mark.parametrize("name", ["", 5, b"folder"])
def test_a_checkpoint_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected a local folder or a hub id"):
        OneGenModel.from_pretrained(name)
