"""A run resumes from the same weights and from what every process has saved."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from onegen_model.errors import CheckpointError
from onegen_model.finetune.run.training import run
from tests.conftest import MakeNetwork
from tests.support.finetuning import make_base, write_recipe


@pytest.fixture
def base(tmp_path: Path, make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONEGEN_CACHE", str(tmp_path / "cache"))
    return make_base(tmp_path / "base", make_network)


def spoil(file: Path) -> None:
    save_file(
        {name: 2 * tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"}
    )


def test_a_run_is_not_resumed_over_other_base_weights_of_the_same_name(
    base: Path, tmp_path: Path
) -> None:
    run(write_recipe(tmp_path, base, trainer={"max_steps": 1}))
    spoil(base / "model.safetensors")
    longer = write_recipe(tmp_path, base, trainer={"max_steps": 2})
    with pytest.raises(CheckpointError, match="was started with another base_sha256; expected"):
        run(longer)


def test_bpr_is_resumed_after_a_change_of_negatives_that_it_does_not_use(
    base: Path, tmp_path: Path
) -> None:
    run(write_recipe(tmp_path, base, contrastive="bpr", trainer={"max_steps": 1}))
    (file,) = tmp_path.rglob("run.json")
    begun = json.loads(file.read_text(encoding="utf-8")) | {"cross_device_negatives": True}
    file.write_text(json.dumps(begun), encoding="utf-8")
    run(write_recipe(tmp_path, base, contrastive="bpr", trainer={"max_steps": 2}))


def test_whole_weights_are_not_resumed_over_another_adapter_of_the_same_name(
    base: Path, tmp_path: Path
) -> None:
    adapter = run(write_recipe(tmp_path / "first", base, trainer={"max_steps": 1}))
    top = {"method": "top_layers", "adapter": {"top_layers": 1}, "adapter_from": str(adapter)}
    recipe = write_recipe(tmp_path / "second", base, **top, trainer={"max_steps": 1})
    run(recipe)
    spoil(adapter / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="was started with another adapter_from_sha256"):
        run(recipe)


def test_going_on_with_the_same_files_hashes_none_of_them_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(*_: Any) -> None:
        raise AssertionError("hashed again")

    recipe = write_recipe(tmp_path, base)
    run(recipe, max_steps=1)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    run(recipe, max_steps=2)


def test_a_run_without_stored_digests_is_resumed(base: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, base, trainer={"max_steps": 1})
    run(recipe)
    file = recipe.output / "run.json"
    kept = json.loads(file.read_text())
    older = {name: value for name, value in kept.items() if not name.endswith("_sha256")}
    assert len(older) == len(kept) - 2
    file.write_text(json.dumps(older))
    run(recipe)


def test_a_checkpoint_counts_as_whole_when_every_process_has_written_its_part(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the first may mark it whole, and a kill then costs the others' passages."""
    held: list[set[str]] = []
    recipe = write_recipe(tmp_path, base, cross_batch_negatives=4, trainer={"max_steps": 1})
    wait = Accelerator.wait_for_everyone

    def waiting(self: Accelerator) -> None:
        held.append({file.name for file in (recipe.output / "checkpoint-1").glob("*")})
        wait(self)

    monkeypatch.setattr(Accelerator, "wait_for_everyone", waiting)
    run(recipe)
    own = {"rng_state.pth", "passage_memory_0.pt"}
    assert any(own <= names and "trainer_state.json" not in names for names in held)


def test_what_a_process_has_not_saved_is_missed_aloud(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = write_recipe(tmp_path, base, cross_batch_negatives=4)
    run(recipe)
    shutil.rmtree(recipe.output / "checkpoint-6")
    run(recipe)
    assert "resumes without it" not in caplog.text
    shutil.rmtree(recipe.output / "checkpoint-6")
    (recipe.output / "checkpoint-3" / "passage_memory_0.pt").unlink()
    run(recipe)
    assert (
        "checkpoint-3 has no passage_memory_0.pt: it was saved by another number of processes"
        in caplog.text
    )
